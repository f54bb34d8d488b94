"""A teacher for tests: a local endpoint that reads the log in its prompt and answers in the form asked for."""

import json
import re
from collections.abc import Callable
from typing import Any

LINE = re.compile(r"^L([0-9]+)\|(.*)$", re.MULTILINE)
QUOTABLE = re.compile(r"[A-Za-z][A-Za-z ]{6,30}[a-z]")


def quotable(prompt: str) -> tuple[int, str]:
    """Number and a part of a line of the log in a prompt; of an event's the first of its lines."""
    lines = [(int(number), text) for number, text in LINE.findall(prompt)]
    lines = lines or list(enumerate(prompt.partition("Lines:\n")[2].splitlines(), 1))
    for number, text in lines:
        if (found := QUOTABLE.search(text)) and "`" not in text:
            return number, found[0]
    return next((number, text.strip()) for number, text in lines if text.strip() and "`" not in text)


def good(asked: dict[str, Any]) -> str:
    """An answer without faults."""
    return answer(asked, quotable(asked["messages"][0]["content"])[1])


def inventive(asked: dict[str, Any]) -> str:
    """An answer that quotes what the log does not have."""
    return answer(asked, "the reactor core melted down")


def repaired(asked: dict[str, Any]) -> str:
    """Inventive at first, good when it is told what is wrong."""
    return inventive(asked) if len(asked["messages"]) == 1 else good(asked)


def broken(asked: dict[str, Any]) -> str:
    """Nothing that any task asks for."""
    return "Sorry, no."


def answer(asked: dict[str, Any], quote: str) -> str:
    prompt = asked["messages"][0]["content"]
    schema = asked.get("response_format", {}).get("json_schema", {}).get("schema", {})
    if "turns" in schema.get("properties", {}):
        turns = schema["properties"]["turns"]["minItems"]
        pairs = [
            {"question": f"What is point {number}?", "answer": f"The log has `{quote}`."} for number in range(turns)
        ]
        return json.dumps({"turns": pairs})
    if "risk_score" in schema.get("properties", {}):
        number = quotable(prompt)[0]
        messages = {"critical": [], "warning": [number]}
        value = {"risk_score": 30, "should_alert_user": False, "messages": messages, "summary": [f"It logs `{quote}`."]}
        return json.dumps(value)
    if "grok" in schema.get("properties", {}):
        text = f"The event says something about the system and its parts, as `{quote}` shows."
        pattern = "%{GREEDYDATA:line}"
        return json.dumps({"grok": pattern, "insight": text, "root_cause": None, "components": None, "forecast": text})
    if "日本語" in prompt or "in Japanese" in prompt:
        body = f"ログには `{quote}` が記録されています。原因はこの行からは分かりません。" * 3
        heads = ("概要", "分析", "推奨される手順", "比較", "結論", "推奨事項")
    else:
        body = f"The log has `{quote}` in it, and what led to it is not stated by these lines."
        heads = ("Overview", "Analysis", "Details", "Comparison", "Conclusion", "Recommendations")
    return "\n\n".join(f"**{head}**\n{body}" for head in heads)


def mixed(*replies: Callable[[dict[str, Any]], str]) -> Callable[[dict[str, Any]], str]:
    """One of several behaviours, by the prompt."""
    return lambda asked: replies[sum(asked["messages"][0]["content"].encode()) % len(replies)](asked)
