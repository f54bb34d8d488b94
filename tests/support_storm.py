"""A local OpenAI-like server for many requests: fixed latency, and faults on demand. Also run as a program by bench/.

Bare asyncio on purpose: it shares two cores with what it measures. Whether a request meets a fault, and which, depends
on its text and on how often that text was asked, never on time or order, so a run can be repeated.

Faults and how they look to a client: `429` with Retry-After, `500`, `stall` (no answer), `cut` (the connection closes
inside the body), `page` (200, but HTML), `invalid` (the answer is no JSON), `schema` (JSON of another form),
`truncated` (finish_reason `length`), `refused` (400).
"""

import argparse
import asyncio
import hashlib
import json
import sys
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

PASSING = ("429", "500", "stall", "cut", "page")
LASTING = ("invalid", "schema", "truncated", "refused")


def chance(text: str) -> float:
    """A number in [0, 1) that depends on the text."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") / 2**48


def good_answer(question: str) -> str:
    """What the server answers when nothing is wrong; a repair turn is answered well, too."""
    return json.dumps({"echo": hashlib.sha256(question.encode()).hexdigest()[:12], "value": 1})


class Storm:
    """The behaviour of the server.

    latency: seconds before an answer. passing: chance of a fault that another attempt may not meet. lasting: chance of
    a bad answer to a first turn. unrepaired: chance that a bad answer stays bad after a repair turn.
    """

    def __init__(
        self,
        latency: float = 0.0,
        passing: float = 0.0,
        lasting: float = 0.0,
        unrepaired: float = 0.0,
        wait: float = 0.01,
    ) -> None:
        self.latency, self.passing, self.lasting, self.unrepaired, self.wait = (
            latency,
            passing,
            lasting,
            unrepaired,
            wait,
        )
        self.asked: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.most_at_once = 0
        self.at_once = 0
        self.bodies: list[dict[str, Any]] = []
        self.keep_bodies = False
        # What is answered when nothing is wrong, from the request's body.
        self.reply: Callable[[dict[str, Any]], str] = lambda asked: good_answer(asked["messages"][0]["content"])
        self.models = ["storm"]
        self.answers = self.awaited = 0
        self.reached = threading.Event()
        self.refusal: tuple[int, dict[str, Any]] | None = None

    def fault(self, question: str, turns: int, first: str) -> str:
        """The fault that this request meets now, "" for none."""
        self.asked[question] += 1
        if chance(f"{question}/{self.asked[question]}") < self.passing:
            return PASSING[int(chance(f"{question}/{self.asked[question]}/which") * len(PASSING))]
        # The first question decides for the whole conversation.
        bad = chance(f"{first}/bad") < self.lasting
        if bad and (turns == 1 or chance(f"{first}/unrepaired") < self.unrepaired):
            return LASTING[int(chance(f"{first}/which") * len(LASTING))]
        return ""

    def wait_for(self, answers: int) -> None:
        """Wait until so many answers were given in all."""
        self.awaited = answers
        self.reached.clear()
        if self.answers < answers and not self.reached.wait(60):
            raise TimeoutError(f"{self.answers} answers after a minute, expected {answers}")

    def stats(self) -> dict[str, Any]:
        """What was served so far."""
        repeated = {text: count for text, count in self.answered.items() if count > 1}
        return {
            "requests": sum(self.asked.values()),
            "answers": sum(self.answered.values()),
            "distinct": len(self.answered),
            "repeated": sum(repeated.values()) - len(repeated),
            "most_at_once": self.most_at_once,
        }


class _Connection(asyncio.Protocol):
    def __init__(self, storm: Storm) -> None:
        self.storm = storm
        self.data = b""
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.data += data
        while (end := self.data.find(b"\r\n\r\n")) >= 0:
            head = self.data[:end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self.data) < end + 4 + length:
                return
            body = self.data[end + 4 : end + 4 + length]
            path = self.data.split(b" ", 2)[1]
            self.data = self.data[end + 4 + length :]
            self.serve(path.decode(), body)

    def serve(self, path: str, body: bytes) -> None:
        if path.endswith("/models"):
            cards = [{"id": name, "object": "model", "owned_by": "test"} for name in self.storm.models]
            self.send(200, {"object": "list", "data": cards})
        elif path.endswith("/stats"):
            self.send(200, self.storm.stats())
        else:
            asked = json.loads(body)
            self.storm.at_once += 1
            self.storm.most_at_once = max(self.storm.most_at_once, self.storm.at_once)
            if self.storm.keep_bodies:
                self.storm.bodies.append(asked)
            asyncio.get_running_loop().call_later(self.storm.latency, self.answer, asked)

    def answer(self, asked: dict[str, Any]) -> None:
        self.storm.at_once -= 1
        messages = asked["messages"]
        turns = sum(message["role"] == "user" for message in messages)
        question = "\n".join(message["content"] for message in messages if message["role"] == "user")
        fault = self.storm.fault(question, turns, messages[0]["content"])
        text, finish = self.storm.reply(asked), "stop"
        if self.storm.refusal is not None:
            status, refused = self.storm.refusal
            self.send(status, {"error": refused})
        elif fault == "429":
            self.send(429, {"error": {"message": "slow down"}}, f"Retry-After: {self.storm.wait}\r\n")
        elif fault == "500":
            self.send(500, {"error": {"message": "internal"}})
        elif fault == "refused":
            self.send(400, {"error": {"message": "this request is not acceptable"}})
        elif fault == "page":
            self.raw(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 15\r\n\r\n<html>hi</html>")
        elif fault == "cut":
            self.raw(
                b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n{"id": "x", "cho'
            )
            self.transport.close()
        elif fault != "stall":
            text = {"invalid": '{"echo": "x", ', "schema": '{"other": []}', "truncated": text[:9]}.get(fault, text)
            self.complete(f"{question}#{asked.get('seed')}", text, "length" if fault == "truncated" else finish)

    def complete(self, question: str, text: str, finish: str) -> None:
        if self.transport.is_closing():
            return
        self.storm.answered[question] += 1
        self.storm.answers += 1
        if self.storm.answers >= self.storm.awaited:
            self.storm.reached.set()
        usage = {"prompt_tokens": len(question) // 4, "completion_tokens": len(text) // 4}
        message = {"role": "assistant", "content": text}
        self.send(
            200,
            {
                "id": "x",
                "object": "chat.completion",
                "created": 0,
                "model": "storm",
                "choices": [{"index": 0, "message": message, "finish_reason": finish}],
                "usage": {**usage, "total_tokens": sum(usage.values())},
            },
        )

    def send(self, status: int, value: Any, headers: str = "") -> None:
        content = json.dumps(value).encode()
        head = (
            f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n{headers}\r\n"
        )
        self.raw(head.encode() + content)

    def raw(self, data: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(data)


class StormServer:
    """The server in a thread of this process; `url` is its base URL."""

    def __init__(self, storm: Storm) -> None:
        self.storm = storm
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._thread.start()
        self._ready.wait()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._over = asyncio.Event()
        server = await self._loop.create_server(lambda: _Connection(self.storm), "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        self._ready.set()
        await self._over.wait()
        server.close()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()


async def main() -> None:
    """Serve until standard input ends; prints the base URL first."""
    parser = argparse.ArgumentParser(description="A local OpenAI-like server with latency and faults.")
    for name in ("latency", "passing", "lasting", "unrepaired", "wait"):
        parser.add_argument(f"--{name}", type=float, default=0.01 if name == "wait" else 0.0)
    storm = Storm(**vars(parser.parse_args()))
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(storm), "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
