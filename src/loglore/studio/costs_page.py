"""Costs: what jobs cost by month, kind and key, and how much of the budget is left."""

from collections import defaultdict
from html import escape

import streamlit as st

from loglore.studio import charts, markup, shared
from loglore.studio.words import say


def show() -> None:
    """Draw the page."""
    st.title(say("costs.title"))
    with shared.errors_shown():
        found = shared.api().get("/studio/costs")
        spent, budget = found["this_month"]["dollars"], found["budget"]
        figures = [(say("costs.month", month=found["this_month"]["month"]), shared.dollars(spent))]
        if budget is None:
            figures.append((say("costs.budget"), say("costs.no_budget")))
        else:
            figures += [
                (say("costs.budget"), shared.dollars(budget)),
                (say("costs.left"), shared.dollars(budget - spent)),
            ]
        shared.figures(figures)
        if budget:
            st.progress(min(spent / budget, 1.0), say("costs.share", share=f"{spent / budget:.0%}"))
        else:
            st.caption(say("costs.budget_help"))
        if not found["data"]:
            shared.empty(say("costs.none"), say("costs.none_help"))
            return
        months: defaultdict[tuple[str, str], float] = defaultdict(float)
        for each in found["data"]:
            months[each["month"], each["kind"]] += each["dollars"]
        rows = [{"month": month, "kind": kind, "dollars": value} for (month, kind), value in sorted(months.items())]
        st.altair_chart(charts.costs(rows), width="stretch", alt=say("costs.chart_alt"))
        head = [say(f"costs.{name}") for name in ("when", "kind", "key", "jobs", "gpu_hours", "dollars")]
        table = [
            [each["month"], escape(each["kind"]), escape(each["created_by"] or say("common.local")),
             f"{each['jobs']:,}",
             f"{each['gpu_seconds'] / 3600:.2f}", shared.dollars(each["dollars"])]
            for each in found["data"]
        ]  # fmt: skip
        st.html(markup.table(head, table, numbers=[3, 4, 5]))
