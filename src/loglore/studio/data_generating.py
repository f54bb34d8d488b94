"""Rows written by a teacher about logs: what is asked, of whom, for how much; and the jobs that do it."""

from html import escape
from typing import Any

import streamlit as st

from loglore.studio import job_list, job_view, shared
from loglore.studio.words import say

KINDS = ("synth", "nlplog", "prepare", "import")
TASKS = ("root_cause", "summary", "patterns", "comparison", "conversation", "alert")
QUESTIONS = ("grok", "insight", "root_cause", "components", "forecast")
MOST = 100
MOST_ROWS = 10**7


def show() -> None:
    """Draw the form and the jobs."""
    st.markdown(say("data.generate_help"))
    listed = shared.api().logs()
    stored = shared.api().get("/files", purpose="user_data", limit=MOST)["data"]
    names = {f"log:{each['path']}": each["path"] for each in listed["data"]}
    names |= {each["id"]: f"{each['filename']} ({each['id'][-6:]})" for each in stored}
    if names:
        _form(names)
    else:
        shared.empty(say("data.no_logs"), say("data.no_logs_help", folder=escape(listed["root"])))
    st.header(say("data.jobs"))
    job = job_list.choose(KINDS, say("tuning.open"), "job", (say("data.no_jobs"), say("data.no_jobs_help")))
    if job:
        job_view.live(job["id"], _datasets)


def _datasets(job: dict[str, Any]) -> None:
    made = (job["report"] or {}).get("job", {}).get("datasets", {})
    row = st.container(horizontal=True)
    for name in made.values():
        if row.button(say("data.open_one", name=name), key=f"open-{name}", icon=":material/database:"):
            st.session_state["go-view-data"] = "list"
            shared.go("dataset", name)


def _form(names: dict[str, str]) -> None:
    task = st.radio(
        say("data.task"), ("chat", "nlplog"), format_func=lambda each: say(f"data.task_{each}"), horizontal=True,
        key="generate-task",
    )  # fmt: skip
    with st.form("data-generate"):
        logs = st.multiselect(
            say("data.logs"), list(names), format_func=names.__getitem__, placeholder=say("common.choose")
        )
        columns = st.columns(2)
        name = columns[0].text_input(say("data.name"), "generated")
        languages = ("en", "ja", "mix") if task == "chat" else ("en", "ja")
        language = columns[1].selectbox(
            say("common.language"), languages, format_func=lambda each: say(f"data.in_{each}")
        )
        options = _chat() if task == "chat" else _nlplog()
        teacher, limits = _teacher()
        if st.form_submit_button(say("data.generate"), type="primary"):
            body = {
                "task": task, "logs": logs, "teacher": teacher, "publish": name, "name": name,
                "options": {"language": language, **options, **limits},
            }  # fmt: skip
            shared.go("job", shared.api().post("/studio/synthesis", body)["id"])


def _chat() -> dict[str, Any]:
    tasks = st.multiselect(
        say("data.tasks"),
        TASKS,
        list(TASKS[:5]),
        format_func=lambda each: say(f"data.asks_{each}"),
        placeholder=say("common.choose"),
    )
    columns = st.columns(3)
    rows = {
        name: columns[place].number_input(say(f"data.{name}"), 0, MOST_ROWS, value)
        for place, (name, value) in enumerate({"train_rows": 100, "validation_rows": 5, "test_rows": 10}.items())
    }
    with st.expander(say("data.chunks")):
        places = st.columns(4)
        sizes = {"smallest": 8, "largest": 15, "validation_chunks": 1, "test_chunks": 2}
        chunks = {
            name: places[place].number_input(say(f"data.{name}"), 0, 10**6, value)
            for place, (name, value) in enumerate(sizes.items())
        }
        numbered = st.checkbox(say("data.numbered"), help=say("data.numbered_help"))
    return {"tasks": tasks, **rows, **chunks, "numbered": numbered}


def _nlplog() -> dict[str, Any]:
    questions = st.multiselect(
        say("data.questions"),
        QUESTIONS,
        list(QUESTIONS),
        format_func=lambda each: say(f"data.asks_{each}"),
        placeholder=say("common.choose"),
    )
    columns = st.columns(2)
    variants = columns[0].number_input(say("data.variants"), 1, 10, 2)
    share = columns[1].number_input(say("data.validation_share"), 0.0, 0.5, 0.0, step=0.01)
    return {"questions": questions, "variants": variants, "validation_share": share}


def _teacher() -> tuple[Any, dict[str, float]]:
    """The teacher as the API takes it, and how much it may use."""
    with st.expander(say("data.teacher")):
        columns = st.columns(3)
        url = columns[0].text_input(say("data.teacher_url"), help=say("data.teacher_help")).strip()
        model = columns[1].text_input(say("data.teacher_model")).strip()
        variable = columns[2].text_input(say("data.key_env"), help=say("data.key_env_help")).strip()
        columns = st.columns(3)
        prices = {
            name: columns[place].number_input(say(f"data.{name}"), 0.0, None, 0.0)
            for place, name in enumerate(("price_in", "price_out"))
        }
        budget = columns[2].number_input(say("data.budget"), 0.01, None, None, placeholder="–")
    if not url:
        return "analyst", {}
    target = {"url": url, "model": model, **prices, **({"key_env": variable} if variable else {})}
    return [target], {"budget_dollars": budget} if budget else {}
