"""Test jobs: start them for one or several models, see every row, compare runs with intervals."""

from html import escape
from typing import Any

import streamlit as st

from loglore.studio import charts, job_list, job_view, markup, shared, tests_form
from loglore.studio.words import say

VIEWS = ("list", "new", "compare")
METRICS = ("rougeL", "rouge1", "rouge2", "bleu", "fuzzy_match")
SHOWN_METRICS = ("fuzzy_match", "bleu", "rouge1", "rouge2", "rougeL", "rougeLsum")
MOST, PAGE = 100, 10
SHORT = 160


def show() -> None:
    """Draw the page; `?job=…` in the address opens a run, `?view=compare&comparison=…` a comparison."""
    st.title(say("tests.title"))
    with shared.errors_shown():
        view = shared.view(say("tests.views"), VIEWS, "tests")
        {"list": _list, "new": tests_form.show, "compare": _compare}[view]()


def _jobs(kind: str, state: str | None = None) -> list[dict[str, Any]]:
    return list(shared.api().get("/studio/jobs", kind=kind, state=state, limit=MOST)["data"])


def _list() -> None:
    job = job_list.choose(("test",), say("tests.open"), "job", (say("tests.none"), say("tests.none_help")))
    if job:
        job_view.live(job["id"], _result)


def _result(job: dict[str, Any]) -> None:
    if job["report"]:
        _scores(job["report"])
        _rows(job["id"], [one for one in _jobs("test", "succeeded") if one["id"] != job["id"]])


def _scores(report: dict[str, Any]) -> None:
    st.header(say("tests.scores"))
    rows = [
        [escape(name), f"{score['value']:.3f}", f"{score['low']:.3f} – {score['high']:.3f}"]
        for name, score in report["scores"].items()
    ]
    st.html(markup.table([say("tests.metric"), say("tests.score"), say("tests.interval")], rows, numbers=[1, 2]))


def _rows(job: str, others: list[dict[str, Any]]) -> None:
    st.header(say("tests.rows"))
    columns = st.columns([1, 2, 1])
    metric = columns[0].selectbox(say("tests.metric"), METRICS, key=f"metric-{job}")
    against = columns[1].selectbox(
        say("tests.against"), [each["id"] for each in others], index=None, key=f"against-{job}",
        format_func={each["id"]: job_view.label(each) for each in others}.__getitem__,
        placeholder=say("tests.against_none"),
    )  # fmt: skip
    page = columns[2].number_input(say("tests.page"), 1, None, 1, key=f"page-{job}")
    path = f"/studio/jobs/{job}/rows"
    offset = (int(page) - 1) * PAGE
    found = shared.api().get(path, metric=metric, against=against, offset=offset, limit=PAGE)
    st.caption(say("tests.sorted_change" if against else "tests.sorted", total=f"{found['total']:,}"))
    if not found["data"]:
        st.caption(say("common.no_match"))
        return
    head = [say("tests.row"), metric or "", *([say("tests.change")] if against else []), say("tests.input")]
    head += [say("tests.truth"), say("tests.output")]
    rows = [_row(each, str(metric), against is not None) for each in found["data"]]
    st.html(markup.table(head, rows, numbers=[0, 1, *([2] if against else [])]))
    number = st.selectbox(
        say("tests.read_row"),
        [each["row"] for each in found["data"]],
        index=None,
        key=f"row-{job}-{page}",
        placeholder=say("common.choose"),
    )
    for each in found["data"]:
        if each["row"] == number:
            _whole(each)


def _row(each: dict[str, Any], metric: str, changed: bool) -> list[str]:
    value = each[metric]
    cells = [str(each["row"]), "–" if value is None else f"{value:.3f}"]
    if changed:
        change = each["change"]
        kind = "" if change is None else "failed" if change < 0 else "succeeded" if change > 0 else ""
        cells.append("–" if change is None else f'<span class="ll-state {kind}">{change:+.3f}</span>')
    return cells + [_short(each[name]) for name in ("input", "truth", "output")]


def _short(text: str | None) -> str:
    if text is None:
        return f"<i>{escape(say('tests.no_answer'))}</i>"
    flat = " ".join(markup.clean(text).split())
    return escape(flat if len(flat) <= SHORT else flat[: SHORT - 1] + "…")


def _whole(row: dict[str, Any]) -> None:
    names = [name for name in ("input", "truth", "output", "output_before") if row.get(name) is not None]
    st.html(markup.turns([(say(f"tests.{name}"), row[name]) for name in names]))


def _compare() -> None:
    _start_comparison()
    nothing = say("tests.no_comparison"), say("tests.no_comparison_help")
    job = job_list.choose(("compare",), say("tests.open_comparison"), "comparison", nothing)
    if job:
        job_view.live(job["id"], lambda found: _comparison(found["id"]))


def _start_comparison() -> None:
    done = _jobs("test", "succeeded")
    if len(done) < 2:
        return
    with st.expander(say("tests.compare_finished")), st.form("tests-compare"):
        chosen = st.multiselect(
            say("tests.runs"), [each["id"] for each in done],
            format_func={each["id"]: job_view.label(each) for each in done}.__getitem__,
            placeholder=say("common.choose"),
        )  # fmt: skip
        if st.form_submit_button(say("tests.compare"), type="primary") and len(chosen) > 1:
            names = {each["id"]: each["name"] or each["id"] for each in done}
            labels: dict[str, str] = {}
            for job in chosen:
                labels[names[job] if names[job] not in labels else f"{names[job]} ({job[-4:]})"] = job
            shared.go("comparison", tests_form.queue_comparison(labels))


def _comparison(job: str) -> None:
    api = shared.api()
    found = api.get(f"/studio/jobs/{job}/outputs/comparison")
    st.caption(say("tests.compared", rows=f"{found['rows']:,}", baseline=found["baseline"]))
    models = sorted(found["models"], key=lambda model: bool(model["label"] != found["baseline"]))
    bars = [
        {"model": model["label"], "metric": name, **model["scores"][name]} for model in models for name in SHOWN_METRICS
    ]
    st.altair_chart(charts.intervals(bars), width="stretch", alt=say("tests.chart_alt"))
    head = [say("tests.model"), *SHOWN_METRICS]
    rows = [
        [f"<b>{escape(model['label'])}</b>", *(_with_interval(model["scores"][name]) for name in SHOWN_METRICS)]
        for model in models
    ]
    st.html(markup.table(head, rows, numbers=range(1, len(head))))
    st.header(say("tests.differences"))
    rows = [
        [f"{escape(each['model'])} − {escape(each['against'])}", *(_with_interval(each["scores"][name], "+")
         for name in SHOWN_METRICS)]
        for each in found["differences"]
    ]  # fmt: skip
    st.html(markup.table(head, rows, numbers=range(1, len(head))))
    st.caption(say("tests.differences_help"))
    if found["findings"]:
        with st.expander(say("tests.findings"), expanded=True):
            items = "".join(f"<li>{escape(markup.clean(each))}</li>" for each in found["findings"])
            st.html(f"<ul>{items}</ul>")
    if not api.has_key:
        url = f"{api.url}/v1/studio/jobs/{job}/outputs/report_html"
        st.link_button(say("tests.report"), url, icon=":material/open_in_new:")


def _with_interval(score: dict[str, Any], sign: str = "") -> str:
    """A value over its interval; a difference that is one by its interval is bold."""
    value = format(score["value"], f"{sign}.3f")
    low, high = (format(score[name], f"{sign}.3f") for name in ("low", "high"))
    if sign and score["significant"]:
        value = f"<b>{value}</b>"
    return f'{value}<br><span class="ll-nowrap ll-small">{low} – {high}</span>'
