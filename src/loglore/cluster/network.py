"""Where a training process listens: on the interface that carries its node's address, as Ray does.

Gloo takes what the host's name stands for instead, which is loopback on many machines (Debian writes `127.0.1.1 NAME`
into /etc/hosts): processes on other machines then find nobody there. NCCL has no such fault and is left alone: it
prefers InfiniBand and leaves loopback out, and Ray's address may lie in a slower network than the one for data.
"""

import os
from collections.abc import Iterable, Mapping
from typing import Any

GLOO = "GLOO_SOCKET_IFNAME"


def interface_of(address: str, interfaces: Mapping[str, Iterable[str]]) -> str | None:
    """The interface that has an address; None where none has, as behind a translated one.

    Args:
        address: IPv4 or IPv6.
        interfaces: addresses by interface; an IPv6 one may end in `%interface`.
    """
    return next(
        (name for name, its in interfaces.items() if address in [one.split("%")[0] for one in its]),
        None,
    )


def torch_config(backend: str) -> Any:
    """Ray Train's for `gloo` or `nccl`; workers of it listen where Ray does."""
    from ray.train.torch import TorchConfig

    class Backend(TorchConfig().backend_cls):  # type: ignore[misc]  # Ray is not checked
        def on_start(self, worker_group: Any, backend_config: Any) -> None:
            worker_group.execute(listen_where_ray_does)
            super().on_start(worker_group, backend_config)

    class Config(TorchConfig):  # type: ignore[misc]
        @property
        def backend_cls(self) -> Any:
            return Backend

    return Config(backend=backend)


def listen_where_ray_does() -> None:
    """Tell gloo in this process, unless who started the node has done so."""
    import psutil
    import ray

    found = {name: [each.address for each in its] for name, its in psutil.net_if_addrs().items()}
    name = interface_of(ray.util.get_node_ip_address(), found)
    if name is not None:
        os.environ.setdefault(GLOO, name)
