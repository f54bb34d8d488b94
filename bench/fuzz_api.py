"""A schemathesis run against `loglore serve` or the studio's API: every route by its OpenAPI schema, and no 5xx.

    python bench/fuzz_api.py PATH_TO_ST [--studio] [--seconds 120] [--seed 0]

PATH_TO_ST is schemathesis' command `st`, in an environment of its own. A hook gives most generated requests the ids of
a model, a file and a log that are there, and a small `max_tokens`: else nearly all would end as "no such model", and
the rest would take minutes each. With `--studio` no worker runs, so that jobs stay queued.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil

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


STUDIO_HOOKS = """
import os
import schemathesis

IDS = {"training_file": "FILE", "file": "FILE", "validation_file": "FILE"}

@schemathesis.hook
def map_query(context, query):
    # A stream of a queued job never ends.
    if query and "stream" in query:
        query["stream"] = "false"
    return query

@schemathesis.hook
def map_body(context, body):
    if not isinstance(body, dict) or hash(repr(body)) % 8 == 0:
        return body
    for name, variable in IDS.items():
        if isinstance(body.get(name), str):
            body[name] = os.environ[variable]
    if isinstance(body.get("model"), str):
        body["model"] = "tiny"
    if isinstance(body.get("logs"), list):
        body["logs"] = [{"path": "app.log"}] if "question" in body else ["log:app.log"]
    for name in ("max_tokens", "max_completion_tokens"):
        if isinstance(body.get(name), int):
            body[name] = min(4, max(1, body[name]))
    if "messages" in body or "prompt" in body:
        body["max_tokens"] = 2
        body.pop("n", None)
    return body
"""


@contextlib.contextmanager
def studio() -> Iterator[tuple[str, psutil.Process]]:
    """The studio's API with the model `tiny`, a stored file and a log, in a home of its own."""
    sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
    from support_tiny import build_llama

    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "LOGLORE_HOME": home, "LOGLORE_THREADS": "1"}
        logs = Path(home) / "logs"
        logs.mkdir()
        (logs / "app.log").write_text("2026-03-01 10:00:00 ERROR disk full\n" * 20)
        build_llama(Path(home) / "made", hidden=64, heads=4, positions=1024)
        add = [sys.executable, "-m", "loglore", "models", "add", "tiny", str(Path(home) / "made")]
        subprocess.run(add, env=environment, check=True, stdout=subprocess.DEVNULL)
        command = [sys.executable, "-m", "loglore.api", "--port", "0", "--until-eof", "--logs", str(logs)]
        command += ["--runs", str(Path(home) / "runs")]
        with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdin is not None
            yield process.stdout.readline().decode().strip() + "/v1", psutil.Process(process.pid)
            process.stdin.close()


def stored(url: str) -> str:
    """The id of a stored file of rows."""
    rows = b'{"text": "disk full"}\n'
    head = b'--x\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n--x\r\n'
    head += b'Content-Disposition: form-data; name="file"; filename="rows.jsonl"\r\n\r\n'
    wish = urllib.request.Request(f"{url}/files", head + rows + b"\r\n--x--\r\n")
    wish.add_header("Content-Type", "multipart/form-data; boundary=x")
    with urllib.request.urlopen(wish) as reply:
        return str(json.load(reply)["id"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("st", help="schemathesis' command")
    parser.add_argument("--studio", action="store_true", help="the studio's API instead of `loglore serve`")
    parser.add_argument("--seconds", type=int, default=120)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    server = studio() if asked.studio else served(MODEL, "--context", "512", "--parallel", "2")
    with server as (url, process), tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "hooks.py").write_text(STUDIO_HOOKS if asked.studio else HOOKS)
        root = url.removesuffix("/v1")
        command = [asked.st, "--no-color", "run", f"{root}/openapi.json", "--url", root]
        command += ["--checks", "not_a_server_error,status_code_conformance,content_type_conformance"]
        command += ["--max-time", str(asked.seconds), "--seed", str(asked.seed), "--request-timeout", "60"]
        environment = {**os.environ, "SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": folder, "PYTHONHASHSEED": "0"}
        if asked.studio:
            environment["FILE"] = stored(url)
        done = subprocess.run(command, cwd=folder, env=environment, check=False)
        restarts = [line for line in _metrics(root) if line.startswith("loglore_engine_restarts_total")]
        print(f"schemathesis: status {done.returncode}; server alive: {process.is_running()}; {restarts}")
    sys.exit(done.returncode)


def _metrics(root: str) -> list[str]:
    with urllib.request.urlopen(f"{root}/metrics") as reply:
        return list(reply.read().decode().splitlines())


if __name__ == "__main__":
    main()
