"""`loglore synth …`: logs to training samples."""

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from loglore.cli import cluster
from loglore.cli.output import AsJson, OutFolder, run_job

app = typer.Typer(help="Logs to training samples, by a teacher.", no_args_is_help=True)
SpecFile = Annotated[Path, typer.Argument(help="Spec file (YAML).")]


@app.command("nlplog")
def synth_nlplog(
    spec: SpecFile,
    out: OutFolder,
    executor: cluster.ExecutorOption = "local",
    address: cluster.Address = None,
    storage: cluster.Bucket = None,
) -> None:
    """Five interpretable questions on every event of your logs, as NLPLog rows."""
    run_job("nlplog", spec, out, cluster.on_ray(executor, address, storage))


@app.command("chat")
def synth_chat(
    spec: SpecFile,
    out: OutFolder,
    executor: cluster.ExecutorOption = "local",
    address: cluster.Address = None,
    storage: cluster.Bucket = None,
) -> None:
    """Chunks of your logs to root causes, summaries, patterns, comparisons, alerts and conversations."""
    run_job("synth", spec, out, cluster.on_ray(executor, address, storage))


@app.command("preview")
def synth_preview(
    spec: SpecFile,
    rows: Annotated[int, typer.Option("--rows", "-n", min=1, help="So many requests an endpoint.")] = 1,
    verb: Annotated[Literal["chat", "nlplog"], typer.Option("--for", help="Whose spec it is.")] = "chat",
    as_json: AsJson = False,
) -> None:
    """Show what `synth chat` or `synth nlplog` would send to endpoints, redacted as it would be. Nothing is sent."""
    from loglore.jobs import recipes
    from loglore.synth import chat, nlplog

    kind = {"chat": "synth", "nlplog": "nlplog"}[verb]
    job = recipes.job_of(spec, kind, {**recipes.read_yaml(spec), "kind": kind})
    values = recipes.resolve(job, recipes.Recipe(kind, spec, (job,)), {})
    if verb == "chat":
        shown = chat.preview(chat.ChatSpec.parse(values, str(spec)), rows)
    else:
        shown = nlplog.preview(nlplog.NlplogSpec.parse(values, str(spec)), rows)
    for name, url, body in shown:
        if as_json:
            print(json.dumps({"row": name, "url": url, "body": body}, ensure_ascii=False))
            continue
        rest = {key: value for key, value in body.items() if key != "messages"}
        print(f"# row {name} to {url}/chat/completions\n# {json.dumps(rest, ensure_ascii=False)}")
        for message in body["messages"]:
            print(f"# {message['role']}\n{message['content']}\n")
