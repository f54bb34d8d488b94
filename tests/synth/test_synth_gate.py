"""The gate: forms, claims, and what the reader can see. One log, true and false sentences about it."""

import json

import pytest
from support_analyst import facts_and_table

from loglore.logs.lookup import LogIndex
from loglore.synth import gate, prompts, strict
from loglore.synth.analyst import converse
from loglore.synth.analyst.facts import View
from loglore.synth.gate import Shown

LOG = """\
2026-11-22 07:10:00 INFO shop: request from 10.0.0.1 accepted
2026-11-22 07:10:01 ERROR shop: disk full while writing /var/shop/a.db
2026-11-22 07:10:02 ERROR shop: disk full while writing /var/shop/b.db
2026-11-22 07:10:03 ERROR shop: disk full while writing /var/shop/c.db
2026-11-22 07:10:09 INFO shop: request from 10.0.0.2 accepted
"""
TABLE = facts_and_table(LOG)[1]
TASKS = prompts.tasks()


def findings(text: str) -> list[str]:
    return [text[one.start : one.end] for one in strict.findings(text, LogIndex(TABLE))]


@pytest.mark.parametrize(
    "text",
    [
        "`disk full while writing` stands in 3 lines (L2 to L4).",
        "`disk full while writing` is logged 3 times (L2, L3 and L4); the first is from 07:10:01.",
        "The client 10.0.0.1 is served.",
        "**Next steps**\n1. Run `df -h /var` and then `systemctl restart shop`.",
        "1. Check `lsof /var/shop` on the host.",
        "The log has no `out of memory killer` message.",
        "`request from <*> accepted` is in 2 lines.",
        "Of 5 lines, 3 lines contain `disk full`.",
        "In the first half `disk full` is in 1 line.",
        "`disk full` (L2) comes before `accepted` (L5).",
        "ディスクは「disk full」で 3 回記録されています。",
        "`disk full on the moon` という記録はありません。",
        "`df -h /var/shop` を実行してください。",
        'The shop ran into a "write amplification problem" there.',
    ],
)
def test_true_sentences_pass(text: str) -> None:
    assert findings(text) == []


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("`disk full while writing` stands in 4 lines.", "4"),
        ("`disk full while writing` is logged twice (L2 to L4).", "twice"),
        ("`disk full` (L2, L3 and L5) stops the shop.", "L2, L3 and L5"),
        ("`disk full` is there, as (L1) shows.", "L1"),
        ("It says `the disk was emptied by mistake` there.", "`the disk was emptied by mistake`"),
        ("1. Check why `disk fuel while writing` is logged.", "`disk fuel while writing`"),
        ("**Next steps**\n- Decide whether 10.0.0.7 may come in.", "10.0.0.7"),
        ("Of 5 lines, 4 lines contain `disk full`.", "4"),
        ("「disk full」は 7 回記録されています。", "7 回"),
        ("1. **解決できない問題**: `disk full on the moon` が 2 行にあります。", "`disk full on the moon`"),
        ("A crash can be seen: `disk full on the moon`.", "`disk full on the moon`"),
        ('It says "the disk was emptied by mistake" there.', "the disk was emptied by mistake"),
        ('It says "disk fuel while" there.', "disk fuel while"),
        ("`disk fuel while writing` を調べてください。", "`disk fuel while writing`"),
    ],
)
def test_false_sentences_are_found(text: str, wrong: str) -> None:
    assert any(wrong in one or one in wrong for one in findings(text))


def markdown(body: str) -> str:
    return "\n".join(f"**{head}**\n{body}" for head in ("Overview", "Points", "Recommendations"))


def kinds(task: str, text: str, language: str = "en", numbered: bool = True, view: View | None = None) -> list[str]:
    return [fault.kind for fault in gate.check(TASKS[task], text, Shown(TABLE, numbered, view), language, 2).faults]


def test_forms() -> None:
    good = markdown("The log shows `disk full while writing` in 3 lines, and that stops the shop.")
    assert kinds("summary", good) == []
    assert kinds("summary", f"<think>maybe 10.9.9.9</think>\n```markdown\n{good}\n```") == []
    assert kinds("summary", good.replace("**Points**", "")) == ["form"]
    assert kinds("summary", "**A**\n**B**\n**C**") == ["form"]
    assert kinds("summary", good, language="ja") == ["language"]
    assert kinds("summary", markdown("ディスクが満杯です。`disk full while writing` が原因です。" * 2)) == ["language"]
    assert (
        kinds("summary", markdown("ディスクが満杯です。`disk full while writing` が原因です。" * 2), language="ja")
        == []
    )
    wrong = gate.check(TASKS["summary"], markdown("Failed at 10.9.9.9." + " " * 99), Shown(TABLE, True), "en", 2)
    assert {fault.kind for fault in wrong.faults} == {"claim"}
    assert "10.9.9.9" in gate.repair(wrong.faults)
    assert wrong.grounding["contradicted"] == 2  # the third is under advice


def test_conversations() -> None:
    def turns(*answers: str) -> str:
        return json.dumps({"turns": [{"question": "What is it?", "answer": answer} for answer in answers]})

    assert kinds("conversation", turns("It is `disk full`.", "Free some space.")) == []
    assert kinds("conversation", turns("It is `disk full`.")) == ["form"]
    assert kinds("conversation", turns("It is `disk full`.", "")) == ["form"]
    assert kinds("conversation", turns("It is `disk full`.", "See 10.9.9.9 for that.")) == ["claim"]
    assert kinds("conversation", "It is full.") == ["form"]
    checked = gate.check(TASKS["conversation"], turns("It is `disk full`.", "Free space."), Shown(TABLE, True), "en", 2)
    assert checked.pairs == [("What is it?", "It is `disk full`."), ("What is it?", "Free space.")]


def test_alerts() -> None:
    def alert(**changes: object) -> str:
        messages = {"critical": [2, 3, 4], "warning": []}
        value = {"risk_score": 80, "should_alert_user": True, "messages": messages, "summary": ["Three `disk full`."]}
        return json.dumps({**value, **changes})

    assert kinds("alert", alert()) == []
    assert kinds("alert", alert(risk_score=101)) == ["form"]
    assert kinds("alert", alert(risk_score=1.5)) == ["form"]
    assert kinds("alert", alert(messages={"critical": [2]})) == ["form"]
    assert kinds("alert", alert(extra=1)) == ["form"]
    assert kinds("alert", alert(messages={"critical": [9], "warning": []})) == ["claim"]
    assert kinds("alert", alert(summary=["10.9.9.9 is down."])) == ["claim"]


def test_line_numbers_that_the_reader_does_not_see() -> None:
    text = markdown("`disk full while writing` is in 3 lines (L2 to L4), and that is the cause of all this.")
    assert set(kinds("summary", text, numbered=False)) == {"sight"}


def test_what_a_digest_does_not_show() -> None:
    view = View(
        "l2|2026-11-22 07:10:01 error shop: disk full while writing /var/shop/a.db",
        frozenset([2]),
        frozenset([2]),
        frozenset(),
    )
    assert (
        kinds("summary", markdown("`disk full while writing` (L2) " + "is what the log reports here. " * 3), view=view)
        == []
    )
    assert "sight" in kinds("summary", markdown("The address 10.0.0.2 is served. " * 4), view=view)
    assert "sight" in kinds("summary", markdown("At 07:10:09 a request came in. " * 4), view=view)
    assert "sight" in kinds("summary", markdown("`request from 10.0.0.2` is fine. " * 4), view=view)
    assert "sight" in kinds("summary", markdown("L5 tells of a request that was accepted. " * 4), view=view)


def test_a_template_that_the_digest_shows_may_be_quoted() -> None:
    shown = 't1 ×2 l2–l4: <*> <*>/<*> reply "<*>" is <*> l2|2026-11-22 07:10:01 error shop: disk full'
    view = View(shown, frozenset([2]), frozenset([2, 4]), frozenset())
    text = 'The kind is `<*> <*>/<*> reply "<*>" is <*>`, and nothing more is said about what it means. ' * 2
    assert kinds("summary", markdown(text), view=view) == []
    assert kinds("summary", markdown(text), view=View("l2|disk full", *[frozenset([2])] * 2, frozenset())) != []


def test_the_analyst_writes_alerts_from_facts() -> None:
    facts, table = facts_and_table(LOG, prefixed=True)
    ((question, answer),) = converse("alert", facts, 4)
    value = json.loads(answer)
    assert question in TASKS["alert"].student["en"]
    assert value["messages"] == {"critical": [2, 3, 4], "warning": []}
    assert (value["risk_score"], value["should_alert_user"]) == (86, True)
    assert gate.check(TASKS["alert"], answer, Shown(table, True), "en", 0).faults == []
    calm, _ = facts_and_table("2026-11-22 07:10:00 INFO shop: request accepted\n", prefixed=True)
    value = json.loads(converse("alert", calm, 4)[0][1])
    assert (value["risk_score"], value["should_alert_user"], value["messages"]) == (
        5,
        False,
        {"critical": [], "warning": []},
    )
