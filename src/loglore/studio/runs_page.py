"""The page of runs: jobs and their state, loss curves while they grow, scores, and the comparison report."""

from html import escape
from typing import Any

import streamlit as st

from loglore.studio import charts, markup, shared
from loglore.studio.words import say

REFRESH_S = 2.0
IDLE_REFRESH_S = 10.0  # a run that nobody works on may be continued at any time
REPORT_HEIGHT = 900
STATES = {"done": "✓", "running": "●", "interrupted": "✗"}
ALL = "*"


def show() -> None:
    """Draw the page; `?run=…&job=…` in the address chooses what it opens with."""
    st.title(say("runs.title"))
    with shared.errors_shown():
        found = shared.api().runs()
        runs = {run["id"]: run for run in found["data"]}
        if not runs:
            shared.empty(say("runs.none"), say("runs.none_help", folder=escape(found["root"])))
            return
        names = list(runs)
        run = st.selectbox(say("runs.run"), names, index=_place(names, "run"))
        _live(run, runs[run]["jobs"])
        jobs = [ALL, *(job["id"] for job in runs[run]["jobs"])]
        job = st.pills(
            say("runs.job"), jobs, default=jobs[_place(jobs, "job")], required=True, key=f"job-{run}",
            format_func=lambda name: say("runs.all") if name == ALL else str(name),
        )  # fmt: skip
        st.query_params.from_dict({"run": run} if job == ALL else {"run": run, "job": str(job)})
        if job == ALL:
            _overview(run, runs[run]["jobs"])
        else:
            _section(run, str(job))


def _place(names: list[str], parameter: str) -> int:
    wanted = st.query_params.get(parameter)
    return names.index(wanted) if wanted in names else 0


def _live(run: str, known: list[dict[str, Any]]) -> None:
    """The table of jobs, drawn again every few seconds; what else the page shows follows when a state changes."""

    def draw() -> None:
        with shared.errors_shown():
            jobs = shared.api().run(run)["jobs"]
            head = [say(f"runs.{name}") for name in ("job", "kind", "state", "time", "result")]
            st.html(markup.table(head, [_row(job) for job in jobs], numbers=[3]))
            if _states(jobs) != _states(known):
                st.rerun()

    st.fragment(draw, run_every=REFRESH_S if _is_running(known) else IDLE_REFRESH_S)()


def _states(jobs: list[dict[str, Any]]) -> dict[str, str]:
    return {job["id"]: job["state"] for job in jobs}


def _is_running(jobs: list[dict[str, Any]]) -> bool:
    return "running" in _states(jobs).values()


def _row(job: dict[str, Any]) -> list[str]:
    word = escape(say(f"state.{job['state']}"))
    state = f'<span class="ll-state {job["state"]}">{STATES[job["state"]]} {word}</span>'
    result = escape(job["headline"] or "")
    if job["published"]:
        result += f"{' · ' if result else ''}<code>{escape(job['published'])}</code>"
    if job["state"] != "done" and job["progress"]:
        done, total = job["progress"]["done"], job["progress"]["total"]
        share = 100 * done / total if total else 0
        result = f'<span class="ll-bar"><i style="width:{share:.0f}%"></i></span> '
        result += escape(say("runs.step", done=f"{done:,}", total=f"{total:,}"))
    return [f"<b>{escape(job['id'])}</b>", escape(job["kind"] or ""), state, shared.duration(job["seconds"]), result]


def _section(run: str, job: str) -> None:
    found = shared.api().job(run, job)
    if found["kind"] == "train":
        _training(found)
        _curves(run, [job], found["state"] == "running")
    if found["kind"] == "test" and found["report"]:
        _scores(found["report"])
    if found["kind"] == "compare" and found["state"] == "done":
        _report(run, job)
    if found["kind"] == "ask" and found["report"]:
        _answer(found["report"])
    _files(run, job, found)
    _details(found)


def _overview(run: str, jobs: list[dict[str, Any]]) -> None:
    """Loss curves of all training jobs, by stage, then the comparison."""
    stages: dict[str, list[str]] = {}
    for job in jobs:
        if job["kind"] == "train":
            stage = shared.api().job(run, job["id"])["spec"].get("stage", "train")
            stages.setdefault(stage, []).append(job["id"])
    titles = {"cpt": say("runs.cpt"), "sft": say("runs.sft")}
    for column, (stage, names) in zip(st.columns(max(len(stages), 1)), stages.items(), strict=False):
        with column:
            st.header(titles.get(stage, stage))
            _curves(run, names, _is_running(jobs))
    for job in jobs:
        if job["kind"] == "compare" and job["state"] == "done":
            st.header(say("runs.comparison"))
            _report(run, job["id"])


def _curves(run: str, jobs: list[str], running: bool) -> None:
    def draw() -> None:
        with shared.errors_shown():
            rows = {job: shared.api().metrics(run, job) for job in jobs}
            if not any(rows.values()):
                st.caption(say("runs.no_steps"))
                return
            st.altair_chart(charts.losses(rows), width="stretch", alt=say("job.loss_alt"))
            st.caption(say("runs.loss_help"))

    st.fragment(draw, run_every=REFRESH_S if running else None)()


def _training(job: dict[str, Any]) -> None:
    report = job["report"]
    if report is None:
        return
    loss, speed = report["loss"], report["tokens_per_second"]
    figures = [
        (say("runs.loss"), f"{loss['first']:.3f} → {loss['last']:.3f}"),
        (say("runs.steps"), f"{report['steps']:,}"),
        (say("runs.tokens"), f"{report['tokens']:,}"),
        (say("runs.speed"), say("runs.speed_value", speed=f"{speed:,.0f}") if speed else "–"),
    ]
    if report["eval_loss"]:
        value = f"{report['eval_loss']['first']:.3f} → {report['eval_loss']['last']:.3f}"
        figures.insert(1, (say("runs.validation"), value))
    for column, (label, value) in zip(st.columns(len(figures)), figures, strict=True):
        column.metric(label, value)


def _scores(report: dict[str, Any]) -> None:
    rows = [
        [escape(name), f"{score['value']:.3f}", f"{score['low']:.3f} – {score['high']:.3f}"]
        for name, score in report["scores"].items()
    ]
    st.html(markup.table([say(f"runs.{name}") for name in ("metric", "score", "interval")], rows, numbers=[1, 2]))


def _report(run: str, job: str) -> None:
    url = shared.api().file_url(run, job, "report.html")
    st.link_button(say("runs.report_open"), url, icon=":material/open_in_new:")
    st.iframe(url, height=REPORT_HEIGHT, alt=say("runs.report_alt"))


def _answer(report: dict[str, Any]) -> None:
    claims = [{**claim, "cited": []} for claim in report["claims"]]
    st.markdown(f"**{say('runs.question')}**")
    st.text(markup.clean(report["question"]))
    st.markdown(f"**{say('runs.answer')}**")
    st.html(markup.answer(report["answer"], claims) + markup.verdicts(report["answer"], claims))


def _files(run: str, job: str, found: dict[str, Any]) -> None:
    pictures = [name for name in found["files"] if name.endswith(".png")]
    for name in pictures if found["kind"] != "compare" else []:
        st.image(shared.api().file_url(run, job, name))


def _details(job: dict[str, Any]) -> None:
    report = job["report"] or {}
    if "hyperparameters" in report:
        with st.expander(say("job.hyperparameters")):
            rows = [
                [escape(str(each[name])) for name in ("key", "requested", "status", "effective", "note")]
                for each in report["hyperparameters"]
            ]
            head = [say(f"job.{name}") for name in ("key", "requested", "status", "effective", "note")]
            st.html(markup.table(head, rows))
    with st.expander(say("job.events")):
        rows = [
            [f"{event['time'][:19].replace('T', ' ')}", escape(event["event"]), escape(_fields(event))]
            for event in reversed(job["events"])
        ]
        st.html(markup.table([say("job.time"), say("job.event"), ""], rows))
    with st.expander(say("job.spec")):
        st.json(job["spec"])
    if report:
        with st.expander(say("runs.report")):
            st.json(report, expanded=1)


def _fields(event: dict[str, Any]) -> str:
    shown = {name: value for name, value in event.items() if name not in ("time", "event")}
    return markup.clean(", ".join(f"{name} {value}" for name, value in shown.items()))
