"""One job as its page shows it while it runs: state, buttons, loss, system, log. Drawn again without a reload."""

import time
from collections.abc import Callable
from html import escape
from typing import Any

import streamlit as st

from loglore.studio import charts, markup, shared
from loglore.studio.words import say

MOST_STEPS = 1000  # of a curve: more would not be seen
ACTIONS = {"pause": "pause", "resume": "play_arrow", "cancel": "close"}


def live(job: str, result: Callable[[dict[str, Any]], None] | None = None) -> None:
    """The job's state, figures, curves and log, drawn anew every few seconds until it is over.

    Args:
        job: its id.
        result: draws what a job that has succeeded found, between its figures and its details.
    """
    known = shared.api().get(f"/studio/jobs/{job}")
    _controls(known)
    fresh = [known]

    def draw() -> None:
        with shared.errors_shown():
            found = fresh.pop() if fresh else shared.api().get(f"/studio/jobs/{job}")
            if found["state"] != known["state"] or found["wanted"] != known["wanted"]:
                st.rerun()
            _figures(found)
            _running(found)

    is_over = known["state"] in shared.OVER
    every = None if is_over else shared.REFRESH_S if known["state"] == "running" else shared.IDLE_REFRESH_S
    st.fragment(draw, run_every=every)()
    if result is not None and known["state"] == "succeeded":
        result(known)
    st.fragment(lambda: _machine(known), run_every=every)()
    _details(known)


def _controls(job: dict[str, Any]) -> None:
    name, state = job["id"], job["state"]
    possible = {
        "pause": state in ("queued", "running") and job["wanted"] == "run",
        "resume": state in ("paused", "failed") or (state == "running" and job["wanted"] == "pause"),
        "cancel": state not in shared.OVER and job["wanted"] != "cancel",
    }
    offered = [action for action in ACTIONS if possible[action]]
    columns = st.columns([3, 1, 1, 1], vertical_alignment="center")
    waiting = "" if job["wanted"] == "run" or state in shared.OVER else escape(say(f"job.wanted_{job['wanted']}"))
    title = escape(markup.clean(job["name"] or name))
    columns[0].html(
        f'<div class="ll-title"><b>{title}</b> {shared.state(state)} <span>{waiting}</span> <code>{escape(name)}</code>'
        "</div>"
    )
    for column, action in zip(columns[1:], offered, strict=False):
        icon = f":material/{ACTIONS[action]}:"
        if column.button(say(f"job.{action}"), icon=icon, key=f"{action}-{name}", width="stretch"):
            shared.api().post(f"/studio/jobs/{name}/{action}")
            st.rerun()
    if state in shared.OVER:
        _after(job, columns[2], columns[3])
    if job["error"]:
        st.error(say("job.fault" if state == "failed" else "job.held_up"), icon=":material/error:")
        st.code(markup.clean(job["error"]["message"]), language=None, wrap_lines=True)
    if job["note"]:
        st.html(f'<p class="ll-note">{escape(markup.clean(job["note"]))}</p>')


def _after(job: dict[str, Any], again: Any, gone: Any) -> None:
    """What can be done with a job that is over."""
    name = job["id"]
    if job["kind"] == "train" and again.button(
        say("job.again"), icon=":material/edit:", key=f"again-{name}", help=say("job.again_help"), width="stretch"
    ):
        st.session_state["tuning-from"] = name
        st.session_state["go-view-tuning"] = "new"
        st.rerun()
    with gone.popover(say("common.delete"), width="stretch"):
        st.markdown(say("job.delete_sure"))
        if st.button(say("common.delete_now"), key=f"delete-{name}", type="primary"):
            shared.api().delete(f"/studio/jobs/{name}")
            st.query_params.clear()
            st.rerun()


def _figures(job: dict[str, Any]) -> None:
    started, ended = job["started_at"], job["ended_at"]
    took = (ended or time.time()) - started if started else None
    values: list[tuple[str, Any]] = [(say("job.elapsed"), shared.duration(took) or "–")]
    if job["state"] not in shared.OVER:
        values.append((say("job.left"), _left(job)))
    values.append((say("job.cost"), shared.dollars(job["cost"]["dollars"])))
    if job["gpus"]:
        values.append((say("job.gpus"), f"{job['gpus']}"))
    report = job["report"] or {}
    if job["state"] == "succeeded" and "loss" in report:
        loss = report["loss"]
        values.append((say("job.loss"), f"{loss['first']:.3f} → {loss['last']:.3f}"))
        values.append((say("job.tokens"), f"{report['tokens']:,}"))
    shared.figures(values)
    if job["published"]:
        st.html(f"<p>{escape(say('job.published'))} <code>{escape(job['published'])}</code></p>")


def _left(job: dict[str, Any]) -> str:
    if job["state"] != "running" or job["kind"] != "train":
        return "–"
    finish = shared.api().get(f"/fine_tuning/jobs/{job['id']}")["estimated_finish"]
    return shared.duration(max(0.0, finish - time.time())) if finish else say("job.unknown")


def _running(job: dict[str, Any]) -> None:
    if job["state"] == "queued":
        st.caption(say("job.waits"))
    if job["kind"] != "train":
        return
    if job["progress"] and job["state"] not in shared.OVER:
        done, total = job["progress"]["done"], job["progress"]["total"]
        st.progress(min(done / max(total, 1), 1.0), say("runs.step", done=f"{done:,}", total=f"{total:,}"))
    rows = shared.api().get(f"/studio/jobs/{job['id']}/metrics", most=MOST_STEPS)["data"]
    if any("loss" in row or "eval_loss" in row for row in rows):
        st.altair_chart(charts.losses({job["name"] or job["id"]: rows}), width="stretch", alt=say("job.loss_alt"))
    elif job["state"] == "running":
        st.caption(say("job.no_steps"))
    _more_curves(rows)


def _machine(job: dict[str, Any]) -> None:
    """What the job uses of the machine, and what it prints."""
    with shared.errors_shown():
        samples = shared.api().get(f"/studio/jobs/{job['id']}/metrics", most=MOST_STEPS)["system"]
        if samples:
            with st.expander(say("job.system"), expanded=job["state"] == "running"):
                columns = st.columns(2)
                for place, (unit, chart) in enumerate(charts.system(samples).items()):
                    columns[place % 2].altair_chart(chart, width="stretch", alt=say("job.system_alt", unit=unit))
        text = shared.api().log_tail(job["id"])
        if text.strip():
            with st.expander(say("job.log")):
                st.code(markup.clean(text), language=None, height=320)


def _more_curves(rows: list[dict[str, Any]]) -> None:
    for name in ("learning_rate", "grad_norm"):
        if any(name in row for row in rows):
            with st.expander(say(f"job.{name}")):
                chart = charts.curve(rows, name, say(f"job.{name}"))
                st.altair_chart(chart, width="stretch", alt=say(f"job.{name}"))


def _details(job: dict[str, Any]) -> None:
    report = job["report"] or {}
    if "hyperparameters" in report:
        with st.expander(say("job.hyperparameters")):
            names = ("key", "requested", "status", "effective", "note")
            rows = [[escape(str(each[name])) for name in names] for each in report["hyperparameters"]]
            st.html(markup.table([say(f"job.{name}") for name in names], rows))
    with st.expander(say("job.events")):
        listed = shared.api().get(f"/studio/jobs/{job['id']}/events", limit=100)["data"]
        shown = [
            [shared.moment(each["created_at"]), escape(each["level"]), escape(markup.clean(each["message"]))]
            for each in listed
            if each["type"] == "message"
        ]
        st.html(markup.table([say("job.time"), say("job.level"), say("job.event")], shown))
    with st.expander(say("job.spec")):
        st.json(job["spec"])
    with st.expander(say("job.audit")):
        entries = shared.api().get("/studio/audit", target=job["id"])["data"]
        rows = [[shared.moment(each["time"]), escape(each["actor"]), escape(each["action"])] for each in entries]
        st.html(markup.table([say("job.time"), say("audit.actor"), say("audit.action")], rows))


def listing(jobs: list[dict[str, Any]]) -> str:
    """Jobs as a table (HTML); of what kind they are only where there are several, results only where there is one."""
    names = ["name", "id", "kind", "state", "created", "took", "cost", "result"]
    if len({each["kind"] for each in jobs}) == 1:
        names.remove("kind")
    if not any(each["published"] for each in jobs):
        names.remove("result")
    rows = [[_cell(each, name) for name in names] for each in jobs]
    return markup.table([say(f"job.{name}") for name in names], rows, [names.index("took"), names.index("cost")])


def _cell(job: dict[str, Any], name: str) -> str:
    started = job["started_at"]
    took = (job["ended_at"] or time.time()) - started if started else None
    cells = {
        "name": f"<b>{escape(markup.clean(job['name'])) or '–'}</b>",
        "id": f"<code>{escape(job['id'][-8:])}</code>",
        "kind": escape(job["kind"]),
        "state": shared.state(job["state"]),
        "created": shared.moment(job["created_at"]),
        "took": shared.duration(took),
        "cost": shared.dollars(job["cost"]["dollars"]),
        "result": f"<code>{escape(job['published'])}</code>" if job["published"] else "",
    }
    return cells[name]


def label(job: dict[str, Any]) -> str:
    """How a choice of jobs writes one of them; without its state, which changes while the choice is open."""
    return f"{markup.clean(job['name'] or job['kind'])} · {job['id'][-8:]}"
