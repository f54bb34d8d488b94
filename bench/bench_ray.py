"""A Ray cluster on this machine: overhead over a local run, what a lost node costs, equal bytes over three nodes.

    python bench/bench_ray.py overhead --rounds 3         five-minute jobs (two cores), local and on Ray in turn
    python bench/bench_ray.py lost --steps 60             three nodes train; one is killed after the first checkpoint
    python bench/bench_ray.py equal --rows 20000          packing, synthesis, check over three nodes against one machine

Needs the extra `ray`, and the embedded model. Nodes are raylets of one machine: this measures what Ray adds,
not what more machines give.
"""

import argparse
import contextlib
import datetime
import hashlib
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from loglore.cluster.submission import OnRay
from loglore.jobs import runner
from loglore.runs import files
from loglore.runs.folder import RunFolder
from loglore.train.job import TrainSpec

LOGS = Path(__file__).parents[1] / "examples" / "logs"
HYPERPARAMETERS = {
    "batch_size": 1, "gradient_accumulation_steps": 4, "epochs": 1, "learning_rate": 1e-5, "max_sequence_length": 512,
    "mixed_precision": "none", "checkpoint_strategy": "no", "lr_warmup_ratio": 0.0, "eval_strategy": "no",
    "lora_dropout": 0.0,
}  # fmt: skip
SETTLED_S = 5.0
SHARDED = """
import json, sys
from pathlib import Path
import ray
from loglore.cluster import checking, packing, writing
from loglore.cluster.checking import CheckSpec
from loglore.runs.folder import RunFolder
from loglore.synth.chat import ChatSpec
from loglore.train.job import TrainSpec
ray.init(logging_level="error", log_to_driver=False)
folder = Path(sys.argv[1])
packing.pack(TrainSpec.parse(json.loads(sys.argv[2]), "train"), RunFolder(folder / "packed", {}), large=0)
writing.synth(ChatSpec.parse(json.loads(sys.argv[3]), "chat"), RunFolder(folder / "written", {}), shard=25)
asked = {"beside": str(folder), "given": [json.loads(sys.argv[2])["train"]]}
checking.run(CheckSpec.parse(asked, "check"), RunFolder(folder / "checked", {}))
"""


@contextlib.contextmanager
def cluster(nodes: int, cpus: int) -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        port = int(trial.getsockname()[1])
    each = {"num_cpus": cpus, "num_gpus": 0, "object_store_memory": 200 << 20}
    head = {**each, "include_dashboard": True, "dashboard_host": "127.0.0.1", "dashboard_port": port}
    started = Cluster(initialize_head=True, head_node_args=head)
    try:
        started.others = [started.add_node(**each) for _ in range(nodes - 1)]
        started.url = f"http://127.0.0.1:{port}"
        yield started
    finally:
        started.shutdown()


def spec(folder: Path, model: Path, rows: int, **values: Any) -> TrainSpec:
    lines = [line for log in sorted(LOGS.glob("*.log")) for line in log.read_text("utf-8", "replace").splitlines()]
    texts = ["\n".join(lines[start : start + 20]) for start in range(0, len(lines), 20)]
    corpus = [{"text": f"{texts[number % len(texts)]}\n{number}"} for number in range(rows)]
    files.write_jsonl(folder / "corpus.jsonl", corpus)
    hyperparameters = folder / f"h-{len(list(folder.glob('h-*')))}.json"
    files.write_json(hyperparameters, HYPERPARAMETERS | values.pop("hyperparameters", {}))
    given = {"stage": "cpt", "model": model, "train": folder / "corpus.jsonl", "hyperparameters": hyperparameters}
    return TrainSpec.parse({**given, "general_text": False, **values}, "bench")


def overhead(folder: Path, model: Path, tokens: int, rounds: int) -> dict[str, Any]:
    """Every round has both, in turn first: a shared machine is now faster, now slower."""
    asked = spec(folder, model, max(tokens // 300, 50), max_tokens=tokens)
    seconds: dict[str, list[float]] = {"local": [], "ray": []}
    starts, equal = [], []
    for number in range(rounds):
        places = {name: folder / f"{name}-{number}" for name in seconds}
        for name in sorted(seconds, reverse=bool(number % 2)):
            seconds[name].append((_locally if name == "local" else _there)(asked, places[name]))
        starts.append(_time(places["ray"], "planned") - _time(places["ray"], "submitted"))
        equal.append(_losses(places["local"]) == _losses(places["ray"]))
        print({name: round(values[-1], 1) for name, values in seconds.items()}, file=sys.stderr, flush=True)
    middle = {name: statistics.median(values) for name, values in seconds.items()}
    return {
        "tokens": tokens,
        "seconds": {name: [round(one, 1) for one in values] for name, values in seconds.items()},
        "overhead": [round(there / here - 1, 4) for there, here in zip(seconds["ray"], seconds["local"], strict=True)],
        "overhead_of_medians": round(middle["ray"] / middle["local"] - 1, 4),
        "from_submission_to_first_plan_s": [round(one, 1) for one in starts],
        "losses_equal": all(equal),
    }


def _locally(asked: TrainSpec, folder: Path) -> float:
    start = time.monotonic()
    subprocess.run([sys.executable, "-c", LOCAL, str(folder), asked.model_dump_json()], check=True)
    return time.monotonic() - start


def _there(asked: TrainSpec, folder: Path) -> float:
    with cluster(1, os.cpu_count() or 1) as started:
        time.sleep(SETTLED_S)  # the cluster stood before: what its own start does is not the job's
        start = time.monotonic()
        OnRay(started.url)("train", asked, RunFolder(folder, asked.model_dump(mode="json")))
        return time.monotonic() - start


LOCAL = """
import sys
from pathlib import Path
from loglore.runs.folder import RunFolder
from loglore.runs.tuning import tune
from loglore.train.job import TrainSpec, run
import json
tune()
spec = TrainSpec.parse(json.loads(sys.argv[2]), "bench")
run(spec, RunFolder(Path(sys.argv[1]), spec.model_dump(mode="json")))
"""


def lost(folder: Path, model: Path, steps: int) -> dict[str, Any]:
    os.environ["LOGLORE_CHECKPOINT_SECONDS"] = "2"
    wide = {"hyperparameters": {"gradient_accumulation_steps": 2}, "nodes": 3}
    asked = spec(folder, model, steps * 6, **wide)
    place = folder / "run"
    with cluster(3, 1) as started:

        def lose() -> None:
            while not any(row["event"] == "checkpoint" for row in files.read_jsonl_log(place / "events.jsonl")):
                time.sleep(0.1)
            started.remove_node(started.others[-1], allow_graceful=False)

        threading.Thread(target=lose, daemon=True).start()
        report = OnRay(started.url)("train", asked, RunFolder(place, asked.model_dump(mode="json")))
    alone = spec(folder, model, steps * 6, hyperparameters={"gradient_accumulation_steps": 6})
    subprocess.run([sys.executable, "-c", LOCAL, str(folder / "alone"), alone.model_dump_json()], check=True)
    pairs = list(zip(_losses(place), _losses(folder / "alone"), strict=True))
    return {**report["cluster"], "steps": len(pairs), "largest_difference": max(abs(a - b) for a, b in pairs)}


def equal(folder: Path, model: Path, rows: int) -> dict[str, Any]:
    from loglore.data import check
    from loglore.models.load import load_tokenizer
    from loglore.synth import chat
    from loglore.synth.chat import ChatSpec
    from loglore.train import hyperparameters, plan

    asked = spec(folder, model, rows)
    values = {
        "logs": sorted(LOGS.glob("*.log")), "test_chunks": 20, "validation_chunks": 20, "test_rows": 50,
        "validation_rows": 50, "train_rows": 400, "duplicates": 0.9,
    }  # fmt: skip
    chats = ChatSpec.parse(values, "bench")
    with cluster(3, 1) as started:
        start = time.monotonic()
        subprocess.run(
            [sys.executable, "-c", SHARDED, str(folder / "three"), asked.model_dump_json(), chats.model_dump_json()],
            check=True,
            env=os.environ | {"RAY_ADDRESS": started.address},
        )
        three = time.monotonic() - start
    start = time.monotonic()
    requested = hyperparameters.load(asked.hyperparameters)
    place = folder / "one" / "packed" / "packed"
    plan.build("cpt", asked.train, None, load_tokenizer(model), requested, cache=place)
    chat.run(chats, RunFolder(folder / "one" / "written", {}))
    report = check.check([check.parse_input(str(asked.train))])
    found_here = {"json": check.as_json(report), "lines": check.lines(report), "errors": report.errors}
    files.write_text(folder / "one" / "checked" / "check.json", json.dumps(found_here, ensure_ascii=False))
    one = time.monotonic() - start
    found = {name: _hashes(folder / name) for name in ("one", "three")}
    return {
        "files": len(found["one"]),
        "equal": found["one"] == found["three"],
        "one_s": round(one, 1),
        "three_nodes_s": round(three, 1),
    }


def _hashes(folder: Path) -> dict[str, str]:
    left_out = ("events.jsonl", "metrics.jsonl", "spec.json")
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name not in left_out]
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in paths
        if path.suffix != ".lock"
    }


def _losses(folder: Path) -> list[float]:
    return [row["loss"] for row in files.read_jsonl_log(folder / "metrics.jsonl") if "loss" in row]


def _time(folder: Path, event: str) -> float:
    rows = files.read_jsonl_log(folder / "events.jsonl")
    return next(datetime.datetime.fromisoformat(row["time"]).timestamp() for row in rows if row["event"] == event)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("overhead", "lost", "equal"))
    parser.add_argument("--model", default="smollm2-135m-instruct", help="name in the hub, or a folder")
    parser.add_argument("--tokens", type=int, default=38_000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--rows", type=int, default=20_000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="loglore-ray-") as place:
        folder = Path(place)
        model = _model(asked.model, folder)
        if asked.what == "overhead":
            found = overhead(folder, model, asked.tokens, asked.rounds)
        elif asked.what == "lost":
            found = lost(folder, model, asked.steps)
        else:
            found = equal(folder, model, asked.rows)
    print(json.dumps(found, indent=2))


def _model(name: str, folder: Path) -> Path:
    if Path(name).exists():
        return Path(name)
    report = runner.run_values("import", {"model": name}, folder / "model", lambda _: None)
    return folder / "model" / str(report["outputs"]["model"])


if __name__ == "__main__":
    main()
