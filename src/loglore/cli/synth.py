"""`loglore synth …`: logs to training samples."""

import json
from pathlib import Path
from typing import Annotated

import typer

from loglore.cli.output import AsJson, OutFolder, run_job

app = typer.Typer(help="Logs to training samples, by a teacher.", no_args_is_help=True)
SpecFile = Annotated[Path, typer.Argument(help="Spec file (YAML).")]


@app.command("nlplog")
def synth_nlplog(spec: SpecFile, out: OutFolder) -> None:
    """Five interpretable questions on every event of your logs, as NLPLog rows."""
    run_job("nlplog", spec, out)


@app.command("chat")
def synth_chat(spec: SpecFile, out: OutFolder) -> None:
    """Chunks of your logs to root causes, summaries, patterns, comparisons, alerts and conversations."""
    run_job("synth", spec, out)


@app.command("preview")
def synth_preview(
    spec: SpecFile,
    rows: Annotated[int, typer.Option("--rows", "-n", min=1, help="So many requests an endpoint.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Show what `synth chat` would send to its endpoints, redacted as it would be; nothing is sent."""
    from loglore.jobs import recipes
    from loglore.synth import chat

    job = recipes.job_of(spec, "synth", {**recipes.read_yaml(spec), "kind": "synth"})
    values = recipes.resolve(job, recipes.Recipe("synth", spec, (job,)), {})
    for name, url, body in chat.preview(chat.ChatSpec.parse(values, str(spec)), rows):
        if as_json:
            print(json.dumps({"row": name, "url": url, "body": body}, ensure_ascii=False))
            continue
        rest = {key: value for key, value in body.items() if key != "messages"}
        print(f"# row {name} to {url}/chat/completions\n# {json.dumps(rest, ensure_ascii=False)}")
        for message in body["messages"]:
            print(f"# {message['role']}\n{message['content']}\n")
