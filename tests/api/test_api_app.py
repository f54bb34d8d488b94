"""The API over real HTTP, driven by the official client where OpenAI has the noun."""

import http.client
import inspect
import json
import re
from urllib.parse import urlsplit

import httpx2
import openai
import pytest
from support_studio import Served


@pytest.fixture
def client(served: Served) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0)


def test_health_and_openapi(served: Served) -> None:
    assert httpx2.get(f"{served.url}/health").json()["status"] == "ok"
    assert "/v1/chat/completions" in httpx2.get(f"{served.url}/openapi.json").json()["paths"]


def test_every_body_is_described_with_an_example(served: Served) -> None:
    described = httpx2.get(f"{served.url}/openapi.json").json()

    def shows(part: object, seen: frozenset[str] = frozenset()) -> bool:
        if isinstance(part, list):
            return any(shows(each, seen) for each in part)
        if not isinstance(part, dict):
            return False
        name = str(part.get("$ref", "")).rpartition("/")[2]
        inner = [described["components"]["schemas"][name]] if name and name not in seen else []
        return "examples" in part or shows([*part.values(), *inner], seen | {name})

    without = [
        (method, path)
        for path, methods in described["paths"].items()
        for method, each in methods.items()
        if "requestBody" in each and not shows(each["requestBody"])
    ]
    assert without == []
    texts = [each.get("description") for methods in described["paths"].values() for each in methods.values()]
    assert all(texts)


def test_there_is_a_route_for_every_call_of_the_official_client(served: Served) -> None:
    """For the nouns that are offered; read from the client's own code."""
    from openai.resources import evals, fine_tuning, uploads
    from openai.resources import files as files_module
    from openai.resources import models as models_module

    modules = [
        files_module, models_module, uploads.uploads, uploads.parts, fine_tuning.jobs.jobs,
        fine_tuning.jobs.checkpoints, evals.evals, evals.runs.runs, evals.runs.output_items,
    ]  # fmt: skip
    paths = httpx2.get(f"{served.url}/openapi.json").json()["paths"]
    routes = {(method, re.sub(r"{[^}]*}", "{}", path)) for path, methods in paths.items() for method in methods}
    called = set()
    for module in modules:
        for method, path in re.findall(
            r'self\._(get|post|delete|get_api_list)\(\s*(?:path_template\()?"([^"]+)"', inspect.getsource(module)
        ):
            called.add((method.removesuffix("_api_list"), "/v1" + re.sub(r"{[^}]*}", "{}", path)))
    assert len(called) >= 30
    assert called - routes == set()


def test_models_are_listed_newest_first(client: openai.OpenAI) -> None:
    names = [model.id for model in client.models.list()]
    assert names[:2] == ["tiny@1", "other@1"]
    assert client.models.retrieve("tiny").id == "tiny@1"
    with pytest.raises(openai.NotFoundError) as fault:
        client.models.retrieve("nothing@7")
    assert fault.value.code == "model_not_found"


def test_completion_whole_and_streamed(client: openai.OpenAI) -> None:
    wish = {"model": "tiny", "messages": [{"role": "user", "content": "disk full"}], "temperature": 0, "max_tokens": 12}
    whole = client.chat.completions.create(**wish)  # type: ignore[call-overload]
    assert whole.usage.completion_tokens <= 12
    chunks = list(client.chat.completions.create(**wish, stream=True))  # type: ignore[call-overload]
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert text == (whole.choices[0].message.content or "")
    assert chunks[-1].choices[0].finish_reason == whole.choices[0].finish_reason
    running = [model.id for model in client.models.list() if model.model_extra["running"]]  # type: ignore[index]
    assert running == ["tiny@1"]


def test_an_engines_refusal_keeps_status_and_shape(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as fault:
        client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "full " * 5000}])
    assert "context" in fault.value.body["message"]  # type: ignore[index,call-overload]


@pytest.mark.parametrize(
    ("content", "param"),
    [
        (b"{", None),
        (b"[]", None),
        (b"\xff", None),
        (b'{"messages": [{"role": "user", "content": "x"}]}', "model"),
        (b'{"model": "tiny"}', "messages"),
        (b'{"model": "tiny", "messages": []}', "messages"),
    ],
)
def test_a_bad_body_is_400(served: Served, content: bytes, param: str | None) -> None:
    reply = httpx2.post(f"{served.url}/v1/chat/completions", content=content)
    assert reply.status_code == 400
    error = reply.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert error["param"] == param


@pytest.mark.parametrize("model", ["../secret.txt", "/etc/passwd", "tiny@99", "nobody", ""])
def test_only_names_of_models_are_taken(served: Served, model: str) -> None:
    body = {"model": model, "messages": [{"role": "user", "content": "x"}]}
    reply = httpx2.post(f"{served.url}/v1/chat/completions", json=body)
    if model:
        assert reply.status_code == 404
        assert reply.json()["error"]["code"] == "model_not_found"


def test_unknown_routes_and_methods_have_the_error_shape(served: Served) -> None:
    for reply in (httpx2.get(f"{served.url}/v1/nothing"), httpx2.put(f"{served.url}/health")):
        assert reply.status_code in (404, 405)
        assert set(reply.json()["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize(
    ("name", "value", "status"),
    [
        ("Host", "evil.example", 403),
        ("Host", "127.0.0.1.evil.example", 403),
        ("Host", "localhost:1", 200),
        ("Host", "[::1]:8502", 200),
        ("Host", "[::1", 403),
        ("Origin", "https://evil.example", 403),
        ("Origin", "null", 403),
        ("Origin", "http://127.0.0.1:8501", 200),
    ],
)
def test_pages_from_elsewhere_may_not_call(served: Served, name: str, value: str, status: int) -> None:
    parts = urlsplit(served.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
    connection.putrequest("GET", "/health", skip_host=name == "Host")
    connection.putheader(name, value)
    connection.endheaders()
    reply = connection.getresponse()
    assert reply.status == status
    assert "error" in json.loads(reply.read()) or status == 200
