"""The command line: one typed function a verb, one file a group of verbs. A function parses, calls, prints; no logic.

Exit codes: 0 done, 1 a job failed, 2 bad input, 130 stopped by Ctrl-C. Errors are one line; `--debug` shows where.
"""

import errno
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from loglore import __version__
from loglore.cli import cluster, data, evaluate, hub, jobs, logs, models, serving, stages, synth
from loglore.cli.output import AsJson, say, vars_of
from loglore.errors import InputError, JobError, is_full_disk
from loglore.runs.tuning import tune

if TYPE_CHECKING:
    from loglore.jobs.plan import Planned

app = typer.Typer(
    help="Teach a language model the lore of your logs, and ask it what went wrong.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(cluster.app, name="cluster")
app.add_typer(data.app, name="data")
app.add_typer(hub.app, name="hub")
app.add_typer(jobs.app, name="jobs")
app.add_typer(logs.app, name="logs")
app.add_typer(models.app, name="models")
app.add_typer(serving.sessions_app, name="sessions")
app.add_typer(serving.keys_app, name="keys")
app.add_typer(synth.app, name="synth")
app.command("test")(evaluate.test)
app.command("compare")(evaluate.compare)


@app.callback()
def root(
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback with an error.")] = False,
) -> None:
    """Options before the verb."""
    if debug:
        os.environ["LOGLORE_DEBUG"] = "1"


@app.command()
def version() -> None:
    """Print the version."""
    print(__version__)


@app.command("run")
def run_recipe(
    recipe: Annotated[Path, typer.Argument(help="Recipe file (YAML).")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Run folder; default runs/NAME.")] = None,
    only: Annotated[str | None, typer.Option(help="Run this job alone.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan; run nothing.")] = False,
    executor: cluster.ExecutorOption = "local",
    address: cluster.Address = None,
    storage: cluster.Bucket = None,
    nodes: cluster.Nodes = None,
    gpus_per_node: cluster.GpusPerNode = None,
    as_json: AsJson = False,
) -> None:
    """Run a recipe: job after job; finished ones are skipped, an interrupted one goes on."""
    from loglore.jobs import plan, recipes, runner

    perform = cluster.on_ray(executor, address, storage, nodes, gpus_per_node) or runner.here
    found = recipes.shaped(recipes.load(recipe), nodes, gpus_per_node)
    if dry_run:
        _show_plan(plan.plan(found), as_json)
        return
    reports = runner.run(found, out or Path("runs") / found.name, say, only, perform)
    if as_json:
        print(json.dumps(reports, indent=2, ensure_ascii=False))
        return
    for report in reports.values():
        if "summary" in report:
            print("\n" + report["summary"])
    if found.next_steps and only is None:
        print("\nNext:\n" + "\n".join(f"  {line}" for line in found.next_steps))


def _show_plan(planned: "list[Planned]", as_json: bool) -> None:
    from loglore.jobs import plan

    if as_json:
        print(json.dumps([vars_of(job) for job in planned], indent=2))
    else:
        print("\n".join(line for job in planned for line in plan.lines(job)))


@app.command()
def quickstart(
    out: Annotated[Path, typer.Option("--out", "-o", help="Run folder.")] = Path("runs/quickstart"),
) -> None:
    """The whole workflow on the embedded model and the example logs; run it in a clone of the repository."""
    run_recipe(Path("recipes/quickstart.yaml"), out)


@app.command()
def estimate(
    spec: Annotated[Path, typer.Argument(help="Recipe, or spec file of one training job (YAML).")],
    measure: Annotated[bool, typer.Option("--measure", help="One job: train a few rows and scale the time.")] = False,
    nodes: Annotated[list[int] | None, typer.Option(min=1, help="A recipe: also on so many nodes. Repeatable.")] = None,
    as_json: AsJson = False,
) -> None:
    """Steps, tokens, memory per GPU, time and cost of training, before anything starts."""
    import tempfile

    from loglore.jobs import plan, recipes

    if "jobs" in recipes.read_yaml(spec):
        if measure:
            raise InputError("--measure takes the spec file of one training job, not a recipe")
        _show_plan(plan.plan(recipes.load(spec), nodes or []), as_json)
        return
    if nodes:
        raise InputError("--nodes takes a recipe that declares shapes and a measured rate, not the spec of one job")
    with tempfile.TemporaryDirectory(prefix="loglore-estimate-") as folder:
        print("\n".join(plan.forecast_lines(spec, Path(folder), measure)))


app.command("train")(stages.train)
app.command("export")(stages.export)
app.command("serve")(serving.serve)
app.command("worker")(jobs.worker)


@app.command()
def studio(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the pages; 0 takes a free one.")] = 8501,
    host: Annotated[str, typer.Option(help="Address of the pages; off loopback they ask for a key.")] = "127.0.0.1",
    runs: Annotated[Path, typer.Option(help="Folder of run folders.")] = Path("runs"),
    logs: Annotated[Path, typer.Option(help="Folder of logs that may be asked about.")] = Path("examples/logs"),
    worker: Annotated[bool, typer.Option(help="Also run jobs; without, `loglore worker` does.")] = True,
    executor: cluster.ExecutorOption = "local",
    address: cluster.Address = None,
    storage: cluster.Bucket = None,
) -> None:
    """Start the web portal, its API and a worker for jobs; Ctrl-C stops all, and running jobs save first."""
    from loglore.studio.start import start

    cluster.on_ray(executor, address, storage)
    start(host, port, runs, logs, worker=worker, executor=executor, address=address)


@app.command()
def chat(
    logs: Annotated[list[Path] | None, typer.Argument(help="Log files or folders.")] = None,
    model: Annotated[str | None, typer.Option(help="Model to ask; default: the newest in the hub.")] = None,
    endpoint: Annotated[str | None, typer.Option(help="Ask this OpenAI-compatible URL instead.")] = None,
    question: Annotated[str | None, typer.Option("--ask", "--question", "-q", help="Ask once, then stop.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="With --ask: print the checked answer as JSON.")] = False,
    web: Annotated[bool, typer.Option("--web", help="The same in a browser, at an address that is printed.")] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="With --web: port of the page; 0 takes a free one.")] = 0,
) -> None:
    """Ask about a log in the terminal or a browser; every claim of an answer is checked against the log."""
    if web:
        from loglore.studio.start import chat as open_page

        if model or endpoint or question or as_json:
            raise InputError("--web takes a log alone; models and questions are chosen on the page")
        open_page(logs or [], port)
        return
    from loglore.chat.terminal import chat as start

    start(logs or [], model=model, endpoint=endpoint, question=question, as_json=as_json)


def main() -> None:
    """Entry point: run the verb, turn errors into one line and an exit code."""
    tune()
    try:
        app()
    except InputError as fault:
        _fail(fault, 2)
    except JobError as fault:
        _fail(fault, 1)
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on from here", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output (head, less) is gone; Python would complain again while closing stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except ModuleNotFoundError as fault:
        _fail(f"{fault.name} is not installed; this command needs an extra: pip install 'loglore[all]'", 2)
    except OSError as fault:
        _fail(_described(fault), 1)
    except Exception as fault:
        if os.environ.get("LOGLORE_DEBUG"):
            raise
        if is_full_disk(fault):
            _fail(_described(OSError(errno.ENOSPC, "")), 1)
        _fail(f"{type(fault).__name__}: {' '.join(str(fault).split())} (--debug shows where)", 1)


def _described(fault: OSError) -> str:
    if fault.errno == errno.ENOSPC:
        return f"disk full while writing {fault.filename or 'a file'}: free some space, then run the same command again"
    return f"{fault.filename or 'operating system'}: {fault.strerror or fault}"


def _fail(fault: object, code: int) -> None:
    if os.environ.get("LOGLORE_DEBUG") and isinstance(fault, BaseException):
        raise fault
    print(f"loglore: {fault}", file=sys.stderr)
    sys.exit(code)
