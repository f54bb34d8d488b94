"""The batch mode against a local server with files and batches."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support_batches import BatchServer, batch_server

from loglore.endpoint import batches
from loglore.endpoint.batches import run_batches
from loglore.endpoint.items import Accept, Again, Item, Reject
from loglore.endpoint.limits import Budget
from loglore.endpoint.runner import Fanout
from loglore.endpoint.target import Answer, Request, Target
from loglore.errors import InputError, JobError


@pytest.fixture
def server() -> Iterator[BatchServer]:
    with batch_server() as started:
        yield started


def items(*texts: str) -> list[Item]:
    return [Item(text, Request(({"role": "user", "content": text},), 10)) for text in texts]


def judge(item: Item, answer: Answer, turn: int) -> Accept | Again | Reject:
    if item.id.startswith("again") and turn == 0:
        return Again("and once more")
    return Reject("bad word") if "bad" in item.id else Accept(answer.text)


def work(server: BatchServer, folder: Path, texts: list[str], **options: Any) -> Fanout:
    target = Target(url=server.url, model="m", price_out=1e6, **options.pop("target", {}))
    fanout = Fanout([target], folder / "cache.jsonl", folder / "out.jsonl", **options)
    fanout.tally = run_batches(
        fanout, items(*texts), judge, folder / "batches.jsonl", lambda amount=1, note="": None, 0.01
    )
    return fanout


def test_upload_wait_fetch_and_a_repair_in_a_second_batch(server: BatchServer, tmp_path: Path) -> None:
    server.slow = 3
    fanout = work(server, tmp_path, ["one", "two", "again", "bad"])
    assert (fanout.tally.accepted, fanout.tally.repaired, fanout.tally.rejected) == (3, 1, 1)
    assert [fanout.outcome(name)["value"] for name in ("one", "again")] == ["ONE", "AND ONCE MORE"]  # type: ignore[index]
    assert len(server.batches) == 2
    assert fanout.tally.cost == fanout.tally.paid == 10
    assert list(tmp_path.glob("batch-*.jsonl")) == []


def test_a_batch_is_found_again(server: BatchServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.slow = 10**9

    async def killed(seconds: float) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("loglore.endpoint.batches.asyncio.sleep", killed)
        with pytest.raises(KeyboardInterrupt):
            work(server, tmp_path, ["one", "two"])
    server.slow = 0
    assert work(server, tmp_path, ["one", "two"]).tally.accepted == 2
    assert len(server.batches) == 1
    # A kill between the creation of a batch and its note: the note is gone, the batch is not.
    for name in ("batches.jsonl", "cache.jsonl", "out.jsonl"):
        (tmp_path / name).unlink()
    assert work(server, tmp_path, ["one", "two"]).tally.accepted == 2
    assert len(server.batches) == 1


def test_failed_rows_are_listed_and_go_into_a_new_batch(server: BatchServer, tmp_path: Path) -> None:
    server.fail_words = {"two"}
    fanout = work(server, tmp_path, ["one", "two"])
    assert (fanout.tally.accepted, fanout.tally.failed) == (1, 1)
    assert "500" in fanout.outcome("two")["reason"]  # type: ignore[index]
    server.fail_words = set()
    assert work(server, tmp_path, ["one", "two"]).tally.accepted == 2
    assert len(server.batches) == 2
    assert sum(body["messages"][0]["content"] == "one" for body in server.sent) == 1


def test_expired_and_failed_batches(server: BatchServer, tmp_path: Path) -> None:
    server.status = "failed"
    with pytest.raises(JobError, match="batch batch-0 failed: no reason given"):
        work(server, tmp_path, ["one"])
    server.status = "expired"
    assert work(server, tmp_path, ["one"]).tally.accepted == 1
    assert len(server.batches) == 2


def test_redaction_survives_the_process_that_sent(server: BatchServer, tmp_path: Path) -> None:
    from loglore.endpoint.redaction import Redactor

    def redactor() -> Redactor:
        return Redactor(tmp_path / "redaction.json")

    server.slow = 1
    fanout = work(server, tmp_path, ["why 10.9.8.7?"], redactor=redactor(), target={"redact": True})
    assert server.sent[0]["messages"][0]["content"] == "why <IP_1>?"
    assert fanout.outcome("why 10.9.8.7?")["value"] == "WHY 10.9.8.7?"  # type: ignore[index]
    assert redactor().restore("<IP_1>") == "10.9.8.7"
    # A changed spec clears the folder; the batch is found by its mark, and so are its placeholders.
    for name in ("batches.jsonl", "cache.jsonl", "out.jsonl", "redaction.json"):
        (tmp_path / name).unlink()
    fanout = work(server, tmp_path, ["why 10.9.8.7?"], redactor=redactor(), target={"redact": True})
    assert len(server.batches) == 1
    assert fanout.outcome("why 10.9.8.7?")["value"] == "WHY 10.9.8.7?"  # type: ignore[index]


def test_the_budget_holds(server: BatchServer, tmp_path: Path) -> None:
    fanout = work(server, tmp_path, ["one", "two", "three"], budget=Budget(dollars=25))
    assert (fanout.tally.accepted, fanout.tally.unasked, fanout.tally.stopped) == (2, 1, "budget")


def test_portions_fit_into_a_batch_and_a_later_run_has_the_same(
    server: BatchServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "MOST_REQUESTS", 3)
    texts = [f"{number}" for number in range(5)] + ["long" * 80, "long" * 81, "5", "again", "again"]
    monkeypatch.setattr(batches, "MOST_BYTES", 400)
    found = [[item.id for item in portion] for portion in batches.portions(items(*texts))]
    assert found == [["0", "1", "2"], ["3", "4"], ["long" * 80], ["long" * 81], ["5", "again", "again"]]
    # A row that failed in the first does not move the others, which are not asked again.
    server.fail_words = {"1"}
    assert work(server, tmp_path, texts[:-1]).tally.failed == 1
    assert len(server.batches) == 6
    server.fail_words = set()
    for name in ("cache.jsonl", "out.jsonl"):  # as on a machine that has only the state
        (tmp_path / name).unlink()
    assert work(server, tmp_path, texts[:-1]).tally.accepted == 9
    asked = [body["messages"][0]["content"] for body in server.sent]
    assert {text for text in asked if asked.count(text) > 1} == {"1", "again"}
    assert len(server.batches) == 7


def test_batches_wait_at_the_same_time_and_none_asks_what_another_does(
    server: BatchServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "MOST_REQUESTS", 2)
    server.slow = 10**9

    async def all_wait(seconds: float) -> None:
        if len(server.batches) == 3:
            server.slow = 0
        await pause(0)

    pause = batches.asyncio.sleep
    monkeypatch.setattr("loglore.endpoint.batches.asyncio.sleep", all_wait)
    target = Target(url=server.url, model="m")
    fanout = Fanout([target], tmp_path / "cache.jsonl", tmp_path / "out.jsonl")
    listed = items("one", "two", "three", "same", "five", "six")
    listed[4] = Item("same too", listed[3].request)
    tally = run_batches(fanout, listed, judge, tmp_path / "b.jsonl", lambda amount=1, note="": None)
    assert (tally.accepted, tally.requests) == (6, 5)


def test_answers_of_a_batch_are_billed_once(server: BatchServer, tmp_path: Path) -> None:
    work(server, tmp_path, ["one", "two"])
    for name in ("cache.jsonl", "out.jsonl"):
        (tmp_path / name).unlink()
    again = work(server, tmp_path, ["one", "two"])
    assert (again.tally.accepted, again.tally.paid, len(server.batches)) == (2, 0, 1)
    assert len((tmp_path / "paid.jsonl").read_text().splitlines()) == 2


def test_one_endpoint_only(server: BatchServer, tmp_path: Path) -> None:
    target = Target(url=server.url, model="m")
    fanout = Fanout([target, target], tmp_path / "c.jsonl", tmp_path / "o.jsonl")
    with pytest.raises(InputError, match="expected one endpoint, found 2"):
        run_batches(fanout, items("x"), judge, tmp_path / "b.jsonl", lambda amount=1, note="": None)
