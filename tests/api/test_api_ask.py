from pathlib import Path
from typing import Any

import httpx2
import pytest
from support_studio import LINES, Served, events_of


def ask(served: Served, **wish: Any) -> list[tuple[str, dict[str, Any]]]:
    body = {
        "logs": [{"path": "app.log"}],
        "question": "Find the root cause.",
        "model": "tiny",
        "max_tokens": 20,
        **wish,
    }
    reply = httpx2.post(f"{served.url}/v1/studio/ask", json=body, timeout=120)
    assert reply.status_code == 200, reply.text
    return events_of(reply.text)


def test_an_answer_streams_and_is_checked(served: Served) -> None:
    events = ask(served)
    names = [name for name, _ in events]
    assert names[0] == "conversation"
    assert names.index("evidence") < names.index("answer") == len(names) - 1
    answer = events[-1][1]
    assert answer["answer"] == "".join(data["text"] for name, data in events if name == "text")
    assert answer["renewed"]
    assert answer["evidence"]["omitted"]["lines_total"] == len(LINES)
    assert sum(answer["verdicts"].values()) == len(answer["claims"])
    again = ask(served, conversation=events[0][1]["id"], question="And then?")
    assert "evidence" not in [name for name, _ in again]
    assert not again[-1][1]["renewed"]


def test_claims_bring_the_lines_they_stand_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from loglore.api.log_facts import cited
    from loglore.logs import grounding, table

    monkeypatch.setenv("LOGLORE_HOME", str(tmp_path))
    path = tmp_path / "app.log"
    path.write_text("\n".join([*LINES, "x" * 5000]) + "\n")
    log = table.index([path], names={path: "app.log"})
    (claim,) = grounding.check("See line 2.", log)
    found = cited([{"lines": list(claim.lines), "source": claim.source}, {"lines": [6], "source": ""}], log)
    assert found[0]["cited"] == [{"source": "app.log", "line": 2, "text": LINES[1]}]
    assert found[1]["cited"][0]["text"] == "x" * 2000 + "… (+3,000 characters)"


@pytest.mark.parametrize(
    ("wish", "status", "named"),
    [
        ({"question": "  "}, 400, "question"),
        ({"question": ""}, 400, "question"),
        ({"logs": []}, 400, "logs"),
        ({"logs": [{"path": "../secret.txt"}]}, 404, "../secret.txt"),
        ({"logs": [{"path": "link.log"}]}, 404, "link.log"),
        ({"logs": [{"path": "deep"}]}, 404, "deep"),
        ({"logs": [{"file": "file-x"}]}, 404, "file-x"),
        ({"logs": [{"file": "x", "path": "y"}]}, 400, "either"),
        ({"model": "nobody"}, 404, "nobody"),
        ({"conversation": "conv_x"}, 404, "conv_x"),
        ({"max_tokens": 0}, 400, "max_tokens"),
        ({"surprise": 1}, 400, "surprise"),
    ],
)
def test_a_bad_request_is_refused_before_the_stream(
    served: Served, wish: dict[str, Any], status: int, named: str
) -> None:
    body = {"logs": [{"path": "app.log"}], "question": "Why?", **wish}
    reply = httpx2.post(f"{served.url}/v1/studio/ask", json=body)
    assert reply.status_code == status
    assert named in reply.json()["error"]["message"]


def test_an_error_inside_the_stream_has_the_shape(served: Served) -> None:
    events = ask(served, question="long " * 2000)
    name, data = events[-1]
    assert name == "error"
    assert data["status"] == 400
    assert data["error"]["type"] == "invalid_request_error"
