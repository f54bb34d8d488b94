import pytest
from hypothesis import given
from hypothesis import strategies as st

from loglore.data.convert import convert
from loglore.data.formats import RowError, detect, to_messages

TEXT = st.text(st.sampled_from('ab \n"\\é世'), min_size=1, max_size=20).filter(lambda text: bool(text.strip()))
META = st.fixed_dictionaries(
    {}, optional={"meta": st.dictionaries(st.sampled_from(["source", "chunk"]), TEXT, min_size=1)}
)
EXTRA = st.fixed_dictionaries({}, optional={"id": st.integers() | TEXT})
TURN = st.fixed_dictionaries({"from": st.just("gpt"), "value": TEXT}, optional={"weight": st.integers(0, 1)})
QUESTION = st.fixed_dictionaries({"from": st.just("human"), "value": TEXT})
CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
CALLS = st.fixed_dictionaries({"from": st.just("gpt"), "value": st.just(""), "tool_calls": st.just([CALL])})
RESULT = st.fixed_dictionaries({"from": st.just("tool"), "value": TEXT, "tool_call_id": st.just("1")})


@st.composite
def sharegpt(draw: st.DrawFn, tools: bool = True) -> dict:
    turns = [{"from": "system", "value": draw(TEXT)}] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(1, 3))):
        turns.append(draw(QUESTION))
        if tools and draw(st.booleans()):
            turns += [draw(CALLS), draw(RESULT)]
        turns.append(draw(TURN) if tools else {"from": "gpt", "value": draw(TEXT)})
    return {"conversations": turns, **draw(META), **draw(EXTRA)}


ALPACA = st.builds(
    lambda row, meta, extra: {**row, **meta, **extra},
    st.fixed_dictionaries(
        {"instruction": TEXT, "input": st.just("") | TEXT, "output": TEXT},
        optional={"system": TEXT, "history": st.lists(st.tuples(TEXT, TEXT).map(list), min_size=1, max_size=2)},
    ),
    META,
    EXTRA,
)
NLPLOG = st.builds(
    lambda row, meta: {**row, **meta},
    st.fixed_dictionaries({"instruction": TEXT, "log": TEXT, "output": TEXT, "domain": TEXT}),
    META,
)


@given(ALPACA)
def test_alpaca_comes_back_from_sharegpt_and_openai_chat(row: dict) -> None:
    there = convert(row, "sharegpt")
    assert to_messages(there) == to_messages(row)
    assert convert(there, "alpaca") == row
    assert convert(convert(there, "openai-chat"), "alpaca") == row


@given(sharegpt())
def test_sharegpt_comes_back_from_openai_chat(row: dict) -> None:
    there = convert(row, "openai-chat")
    assert detect(there) == "openai-chat"
    assert to_messages(there) == to_messages(row)
    assert convert(there, "sharegpt") == row


@given(sharegpt(tools=False))
def test_sharegpt_comes_back_from_alpaca(row: dict) -> None:
    there = convert(row, "alpaca")
    assert to_messages(there) == to_messages(row)
    assert convert(there, "sharegpt") == row


@given(sharegpt(), TURN)
def test_preference_rows_come_back_from_both_chat_formats(row: dict, rejected: dict) -> None:
    dpo = {**row, "conversations": row["conversations"][:-1], "chosen": row["conversations"][-1], "rejected": rejected}
    assert convert(convert(dpo, "sharegpt"), "sharegpt-dpo") == dpo
    assert convert(convert(convert(dpo, "openai-chat"), "sharegpt"), "sharegpt-dpo") == dpo
    assert to_messages(convert(dpo, "sharegpt")) == to_messages(dpo)


@given(NLPLOG)
def test_nlplog_comes_back_from_every_format(row: dict) -> None:
    corpus = convert(row, "corpus")
    assert corpus["text"] == f"Human: {row['instruction']}\nAssistant: {row['output']}\n"
    for there in (
        corpus,
        convert(corpus, "sharegpt"),
        *(convert(row, kind) for kind in ("alpaca", "sharegpt", "openai-chat")),
    ):
        assert detect(there) != "nlplog"
        assert convert(there, "nlplog") == row


@pytest.mark.parametrize(
    ("row", "target", "message"),
    [
        ({"text": "x"}, "sharegpt", "`text`: expected `Human: …`"),
        ({"text": "Human: a\nAssistant: b\nAssistant: c\n"}, "alpaca", "one `Assistant: …`"),
        ({"instruction": "a", "output": "b"}, "corpus", "alpaca rows are no pretraining text"),
        ({"instruction": "a", "output": "b"}, "nlplog", "only a row with `meta.nlplog` becomes nlplog"),
        ({"instruction": "a", "output": "b"}, "sharegpt-dpo", "no rejected answer"),
        ({"instruction": "a", "output": "b", "messages": 1}, "openai-chat", "expected a list of turns"),
        (
            {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], "output": 1},
            "alpaca",
            "`output`: this row already has a field of that name",
        ),
        (
            {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "name": "n"}]},
            "alpaca",
            "alpaca has no place for name of a turn",
        ),
        ({"instruction": "a", "input": "b", "output": "c", "meta": 7}, "sharegpt", "`meta`: expected an object"),
        ({"conversations": [], "image": "a.png"}, "alpaca", "`image`: a ShareGPT_Image row"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}, {"role": "assistant", "content": "b"}]},
            "sharegpt",
            "a turn with an image",
        ),
    ],
)
def test_what_would_be_lost_is_refused_with_the_reason(row: dict, target: str, message: str) -> None:
    with pytest.raises(RowError) as caught:
        convert(row, target)
    assert message in str(caught.value)


def test_a_row_in_the_wanted_format_is_still_checked() -> None:
    with pytest.raises(RowError, match="`output`: expected a text that is not empty"):
        convert({"instruction": "a", "output": ""}, "alpaca")
    row = {"instruction": "a", "output": "b", "note": [1]}
    assert convert(row, "alpaca") is row


@pytest.mark.parametrize(
    "roles",
    [
        "tool user assistant",
        "user tool assistant",
        "user assistant tool",
        "user calls user assistant",
        "user assistant assistant",
        "user system assistant",
    ],
)
def test_tool_turns_stand_between_a_call_and_its_answer(roles: str) -> None:
    turns = [
        {
            "role": "assistant" if role == "calls" else role,
            "content": "x",
            **({"tool_calls": [{"function": {"name": "f"}}]} if role == "calls" else {}),
        }
        for role in roles.split()
    ]
    with pytest.raises(RowError, match="user and assistant in turn"):
        to_messages({"messages": turns})


def test_a_conversation_may_end_with_a_call_or_go_on_after_its_result() -> None:
    call = {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "function": {"name": "f"}}]}
    result = {"role": "tool", "content": "3 lines", "tool_call_id": "1"}
    question, answer = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}
    for turns in (
        [question, call],
        [question, call, result, answer],
        [question, call, result, result, call, result, answer],
    ):
        assert [message["role"] for message in to_messages({"messages": turns})] == [turn["role"] for turn in turns]
