"""A schemathesis run against `loglore serve`: every route by its OpenAPI schema, and no 5xx.

    python bench/fuzz_api.py PATH_TO_ST [--seconds 120] [--seed 0]

PATH_TO_ST is schemathesis' command `st`, in an environment of its own. A hook gives most generated requests the id of a
model that is served and a small `max_tokens`: else nearly all would end as "no such model", and the rest would take
minutes each.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from bench_serving import MODEL, served

HOOKS = f"""
import schemathesis

@schemathesis.hook
def map_body(context, body):
    if isinstance(body, dict) and ("messages" in body or "prompt" in body) and hash(repr(body)) % 8:
        body["model"] = {MODEL!r}
        if isinstance(body.get("max_tokens"), int) or "max_tokens" not in body:
            body["max_tokens"] = min(4, max(1, body.get("max_tokens") or 1))
        if isinstance(body.get("max_completion_tokens"), int):
            body["max_completion_tokens"] = min(4, max(1, body["max_completion_tokens"]))
    return body
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("st", help="schemathesis' command")
    parser.add_argument("--seconds", type=int, default=120)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    with (
        served(MODEL, "--context", "512", "--parallel", "2") as (url, process),
        tempfile.TemporaryDirectory() as folder,
    ):
        (Path(folder) / "hooks.py").write_text(HOOKS)
        root = url.removesuffix("/v1")
        command = [asked.st, "--no-color", "run", f"{root}/openapi.json", "--url", root]
        command += ["--checks", "not_a_server_error,status_code_conformance,content_type_conformance"]
        command += ["--max-time", str(asked.seconds), "--seed", str(asked.seed), "--request-timeout", "60"]
        environment = {**os.environ, "SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": folder, "PYTHONHASHSEED": "0"}
        done = subprocess.run(command, cwd=folder, env=environment, check=False)
        restarts = [line for line in _metrics(root) if line.startswith("loglore_engine_restarts_total")]
        print(f"schemathesis: status {done.returncode}; server alive: {process.is_running()}; {restarts}")
    sys.exit(done.returncode)


def _metrics(root: str) -> list[str]:
    import urllib.request

    with urllib.request.urlopen(f"{root}/metrics") as reply:
        return list(reply.read().decode().splitlines())


if __name__ == "__main__":
    main()
