"""The runner against a real local server: every fault ends in an answer or a reason, nothing is paid for twice."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support_storm import Storm, StormServer

from loglore.endpoint.items import Accept, Again, Item, Reject, Tally
from loglore.endpoint.journal import Journal, digest
from loglore.endpoint.limits import Budget
from loglore.endpoint.runner import Fanout
from loglore.endpoint.target import Answer, Request, Target
from loglore.errors import InputError, JobError

Serve = Callable[..., StormServer]


@pytest.fixture
def serve() -> Iterator[Serve]:
    servers = []

    def start(**behaviour: Any) -> StormServer:
        servers.append(StormServer(Storm(**behaviour)))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def items(count: int, first: int = 0, **request: Any) -> Iterator[Item]:
    for number in range(first, first + count):
        message = {"role": "user", "content": f"question {number}"}
        yield Item(str(number), Request((message,), **{"max_tokens": 32, **request}))


def accept(item: Item, answer: Answer, turn: int) -> Accept | Again | Reject:
    return Accept(answer.text)


def careful(item: Item, answer: Answer, turn: int) -> Accept | Again | Reject:
    """A schema check with one repair."""
    try:
        good = json.loads(answer.text)["value"] == 1
    except (ValueError, KeyError, TypeError):
        good = False
    if good:
        return Accept(answer.text)
    return Again("as JSON, please") if turn == 0 else Reject("not JSON", {"text": answer.text})


def fanout(folder: Path, *servers: StormServer, **options: Any) -> Fanout:
    target = {"model": "storm", "timeout_s": 0.3, "concurrency": 8, **options.pop("target", {})}
    return Fanout(
        [Target(url=server.url, **target) for server in servers],
        folder / "cache.jsonl",
        folder / "out.jsonl",
        **options,
    )


def test_every_item_is_answered_once(serve: Serve, tmp_path: Path) -> None:
    server = serve()
    ticks = []
    work = fanout(tmp_path, server, target={"price_in": 1.0, "price_out": 2.0})
    tally = work.run(items(50), accept, lambda amount=1, note="": ticks.append(note))
    assert (tally.accepted, tally.failed, tally.rejected, tally.requests) == (50, 0, 0, 50)
    assert len(ticks) == 50
    assert ticks[-1].startswith("$")
    assert tally.cost == pytest.approx((tally.prompt_tokens + 2 * tally.completion_tokens) / 1e6)
    assert tally.paid == tally.cost
    bills = [json.loads(line)["dollars"] for line in (tmp_path / "paid.jsonl").read_text().splitlines()]
    assert len(bills) == 50
    assert sum(bills) == pytest.approx(tally.paid)
    for number in range(50):
        outcome = work.outcome(str(number))
        assert outcome is not None
        assert json.loads(outcome["value"])["value"] == 1
    assert server.storm.most_at_once <= 8
    work.close()


def test_a_second_run_asks_nothing_and_a_new_job_uses_the_cache(serve: Serve, tmp_path: Path) -> None:
    server = serve()
    for folder in (tmp_path / "one", tmp_path / "one", tmp_path / "two"):
        target = Target(url=server.url, model="storm")
        work = Fanout([target], tmp_path / "cache.jsonl", folder / "out.jsonl")
        tally = work.run(items(20), accept)
        assert tally.accepted == 20
        work.close()
    assert server.storm.stats()["answers"] == 20
    assert tally.paid == 0


def test_other_fields_of_the_body_make_another_question(serve: Serve, tmp_path: Path) -> None:
    server = serve()
    for number, extra in enumerate([{}, {"reasoning_effort": "low"}, {"reasoning_effort": "high"}, {}]):
        target = Target(url=server.url, model="storm", extra=extra)
        work = Fanout([target], tmp_path / "cache.jsonl", tmp_path / f"out{number}.jsonl")
        assert work.run(items(3), accept).accepted == 3
        work.close()
    assert server.storm.stats()["answers"] == 9


def test_equal_requests_in_flight_are_asked_once(serve: Serve, tmp_path: Path) -> None:
    server = serve(latency=0.05)
    same = Request(({"role": "user", "content": "the same"},), 32)
    work = fanout(tmp_path, server)
    assert work.run((Item(str(number), same) for number in range(8)), accept).accepted == 8
    assert server.storm.stats()["answers"] == 1
    work.close()


@pytest.mark.parametrize("fault", ["429", "500", "stall", "cut", "page"])
def test_passing_faults_are_tried_again(fault: str, serve: Serve, tmp_path: Path) -> None:
    server = serve()
    failed = set()

    def once(question: str, turns: int, first: str) -> str:
        again = question in failed
        failed.add(question)
        return "" if again else fault

    server.storm.fault = once  # type: ignore[method-assign]
    work = fanout(tmp_path, server)
    tally = work.run(items(10), accept)
    assert (tally.accepted, tally.retries, tally.requests) == (10, 10, 20)
    work.close()


def test_retry_after_is_honoured_by_all_requests(serve: Serve, tmp_path: Path) -> None:
    server = serve(wait=0.4)
    times: list[float] = []
    import time

    def limited(question: str, turns: int, first: str) -> str:
        times.append(time.monotonic())
        return "429" if len(times) == 1 else ""

    server.storm.fault = limited  # type: ignore[method-assign]
    work = fanout(tmp_path, server, target={"concurrency": 1})
    assert work.run(items(3), accept).accepted == 3
    assert times[1] - times[0] >= 0.4
    work.close()


def test_what_lasts_is_listed_with_a_reason(serve: Serve, tmp_path: Path) -> None:
    server = serve(lasting=1.0, unrepaired=1.0)
    work = fanout(tmp_path, server)
    tally = work.run(items(40), careful)
    reasons = {}
    for number in range(40):
        outcome = work.outcome(str(number))
        assert outcome is not None
        reasons.setdefault((outcome["status"], outcome["reason"].split(" at ")[0]), []).append(number)
    assert {"rejected", "failed"} == {status for status, _ in reasons}
    assert ("rejected", "not JSON") in reasons
    assert ("failed", "cut off") in reasons
    assert ("failed", "refused: 400 this request is not acceptable") in reasons
    assert tally.rejected + tally.failed == 40
    assert tally.unfinished
    work.close()


def test_a_repair_turn_names_the_fault_and_is_counted(serve: Serve, tmp_path: Path) -> None:
    server = serve(lasting=1.0)
    server.storm.keep_bodies = True
    work = fanout(tmp_path, server)
    tally = work.run(items(30), careful)
    assert tally.accepted == tally.repaired > 5
    longest = max(server.storm.bodies, key=lambda body: len(body["messages"]))
    assert [message["role"] for message in longest["messages"]] == ["user", "assistant", "user"]
    assert longest["messages"][-1]["content"] == "as JSON, please"
    work.close()


def test_cut_off_answers_are_asked_again_with_another_seed(serve: Serve, tmp_path: Path) -> None:
    server = serve()
    server.storm.keep_bodies = True
    server.storm.fault = lambda question, turns, first: "truncated"  # type: ignore[method-assign]
    assert fanout(tmp_path, server).run(items(1), accept).failed == 1
    server.storm.fault = lambda question, turns, first: ""  # type: ignore[method-assign]
    assert fanout(tmp_path, server).run(items(1), accept).accepted == 1
    assert [body["seed"] for body in server.storm.bodies] == [0, 1]


def test_the_budget_stops_and_a_larger_one_goes_on(serve: Serve, tmp_path: Path) -> None:
    server = serve()
    target = {"price_out": 1000.0, "concurrency": 4}
    work = fanout(tmp_path, server, target=target, budget=Budget(dollars=0.3))
    tally = work.run(items(60), accept)
    assert 0 < tally.accepted < 60
    assert tally.cost <= 0.3
    assert (tally.stopped, tally.accepted + tally.unasked) == ("budget", 60)
    work.close()
    asked = server.storm.stats()["answers"]
    work = fanout(tmp_path, server, target=target, budget=Budget(tokens=10**9))
    assert work.run(items(60), accept).accepted == 60
    assert server.storm.stats()["answers"] == 60 > asked
    work.close()


def test_limits_a_minute_are_kept(serve: Serve, tmp_path: Path) -> None:
    server = serve()
    import time

    work = fanout(tmp_path, server, target={"requests_per_minute": 600})
    start = time.monotonic()
    work.run(items(6), accept)
    assert time.monotonic() - start >= 0.5  # five intervals of 0.1 s; longer is no fault
    work.close()


def test_several_endpoints_share_the_work_and_one_may_die(serve: Serve, tmp_path: Path) -> None:
    one, two = serve(latency=0.01), serve(latency=0.01)
    work = fanout(tmp_path / "a", one, two, target={"concurrency": 2})
    assert work.run(items(30), accept).accepted == 30
    assert one.storm.stats()["answers"] > 5
    assert two.storm.stats()["answers"] > 5
    work.close()
    one.storm.refusal = (503, {"message": "shutting down"})
    work = fanout(tmp_path / "b", one, two, attempts=2, target={"concurrency": 2})
    tally = work.run(items(30, first=100), accept)
    assert (tally.accepted, tally.failed) == (30, 0)
    work.close()


def test_an_endpoint_that_stops_answering_ends_the_job(serve: Serve, tmp_path: Path) -> None:
    server = serve()
    server.storm.refusal = (503, {"message": "down for maintenance"})
    work = fanout(tmp_path, server, attempts=1)
    with pytest.raises(JobError, match=r"no endpoint answers any more.*503 down for maintenance"):
        work.run(items(50), accept)
    server.storm.refusal = None
    assert work.run(items(50), accept).accepted == 50
    work.close()


@pytest.mark.parametrize(
    ("refusal", "message"),
    [
        ((401, {"message": "bad key"}), r"401, the key in MY_KEY is not accepted: bad key"),
        ((429, {"message": "quota", "code": "insufficient_quota"}), "no credit left"),
        ((404, {"message": "the model storm does not exist"}), "no model 'storm'"),
        ((400, {"message": "no such field: seed"}), "the first 20 requests were refused: 400 no such field: seed"),
    ],
)
def test_hopeless_endpoints_stop_the_job_in_one_line(
    refusal: tuple[int, dict[str, str]], message: str, serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "k")
    server = serve()
    server.storm.refusal = refusal
    with pytest.raises(InputError, match=message) as fault:
        fanout(tmp_path, server, target={"key_env": "MY_KEY"}).run(items(200), accept)
    assert "\n" not in str(fault.value)
    assert server.storm.stats()["requests"] < 40


def test_bad_targets_are_refused_before_anything_is_asked(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve()
    monkeypatch.delenv("MY_KEY", raising=False)
    with pytest.raises(InputError, match="environment variable MY_KEY is not set"):
        fanout(tmp_path, server, target={"key_env": "MY_KEY"})
    with pytest.raises(InputError, match="no model 'other'; it offers storm"):
        fanout(tmp_path, server, target={"model": "other"}).run(items(1), accept)
    closed = Target(url="http://127.0.0.1:9/v1", model="storm")
    with pytest.raises(InputError, match=r"127\.0\.0\.1:9/v1: cannot connect"):
        Fanout([closed], tmp_path / "c.jsonl", tmp_path / "o.jsonl").run(items(1), accept)
    with pytest.raises(InputError, match="expected one such as https://"):
        Target.parse({"url": "api.example.com", "model": "m"}, "spec")
    assert server.storm.stats()["requests"] == 0


def test_schemas_are_sent_and_left_out_where_they_are_refused(serve: Serve, tmp_path: Path) -> None:
    server = serve()
    server.storm.keep_bodies = True
    schema = {"type": "object"}
    fanout(tmp_path / "a", server, target={"extra": {"max_tokens": None, "top_k": 1}}).run(
        items(1, schema=schema), accept
    )
    body = server.storm.bodies[-1]
    assert body["response_format"]["json_schema"]["schema"] == schema
    assert "max_tokens" not in body
    assert body["top_k"] == 1

    def refusing(asked: dict[str, Any]) -> str:
        server.storm.refusal = (
            (400, {"message": "response_format is not supported"}) if "response_format" in asked else None
        )
        return "{}"

    server.storm.reply = refusing
    tally = fanout(tmp_path / "b", server, target={"concurrency": 1}).run(items(3, schema=schema), accept)
    assert tally.accepted == 3
    assert sum("response_format" in body for body in server.storm.bodies[1:]) == 1


def test_what_leaves_is_redacted_and_what_comes_back_restored(serve: Serve, tmp_path: Path) -> None:
    server = serve()
    server.storm.keep_bodies = True
    server.storm.reply = lambda asked: asked["messages"][0]["content"]
    request = Request(({"role": "user", "content": "why does 10.7.7.7 fail for user zoe?"},), 32)
    work = fanout(tmp_path, server, target={"redact": True})
    work.run([Item("a", request)], accept)
    assert server.storm.bodies[0]["messages"][0]["content"] == "why does <IP_1> fail for user <USER_1>?"
    outcome = work.outcome("a")
    assert outcome is not None
    assert outcome["value"] == "why does 10.7.7.7 fail for user zoe?"
    work.close()


def test_works_inside_a_running_loop(serve: Serve, tmp_path: Path) -> None:
    import asyncio

    async def cell() -> Tally:
        return fanout(tmp_path, server).run(items(3), accept)

    server = serve()
    assert asyncio.run(cell()).accepted == 3


WORKER = """
import sys; from pathlib import Path; sys.path[:0] = sys.argv[3:]
from test_runner import careful, items
from loglore.endpoint.runner import Fanout; from loglore.endpoint.target import Target
folder = Path(sys.argv[2])
target = Target(url=sys.argv[1], model="storm", timeout_s=0.5, concurrency=16)
print("started", flush=True)
tally = Fanout([target], folder / "cache.jsonl", folder / "out.jsonl").run(items(400), careful)
"""


def test_a_storm_with_three_kills_loses_and_repeats_nothing(serve: Serve, tmp_path: Path) -> None:
    server = serve(latency=0.005, passing=0.15, lasting=0.1, unrepaired=0.5)
    command = [sys.executable, "-c", WORKER, server.url, str(tmp_path), str(Path(__file__).parent), *sys.path]
    for kill in range(1, 4):
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": ":".join(sys.path)}
        )
        server.storm.wait_for(90 * kill)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "PYTHONPATH": ":".join(sys.path)})
    states: dict[str, int] = {}
    with Journal(tmp_path / "out.jsonl") as outcomes:
        assert len(outcomes) == 400
        for number in range(400):
            outcome = outcomes.get(digest(str(number)))
            assert outcome["status"] == "accepted" or outcome["reason"]
            states[outcome["status"]] = states.get(outcome["status"], 0) + 1
    assert states["accepted"] > 300
    assert states["rejected"] + states["failed"] > 8
    # Served again: what was in flight at one of the three kills, and no more.
    assert server.storm.stats()["repeated"] <= 3 * 16
