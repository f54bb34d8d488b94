"""Files and uploads over real HTTP, by the official client and by callers who mean no good."""

import io
import json

import httpx2
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types import FileDeleted, FileObject, Upload
from openai.types.uploads import UploadPart
from support_studio import LINES, Served

from loglore.api.files import disposition

CONTENT = ("\n".join(LINES) + "\n").encode() * 500
# One client: each makes a TLS context of its own, which takes longer than a request.
HTTP = httpx2.Client(timeout=60)


@pytest.fixture(scope="module")
def client(served: Served) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0)


def test_a_file_in_parts_is_one_that_can_be_asked_about(served: Served, client: openai.OpenAI) -> None:
    done = client.uploads.upload_file_chunked(
        file=CONTENT,
        filename="../../big app.log",
        bytes=len(CONTENT),
        mime_type="text/plain",
        purpose="user_data",
        part_size=20_000,
    )
    assert done.status == "completed"
    assert done.file is not None
    assert done.file.filename == "big app.log"
    facts = HTTP.post(f"{served.url}/v1/studio/logs/facts", json={"logs": [{"file": done.file.id}]}).json()
    assert facts["lines"] == 500 * len(LINES)
    assert facts["sources"][0]["source"] == "big app.log"
    assert client.files.content(done.file.id).read() == CONTENT


def test_an_upload_goes_on_after_a_break(served: Served) -> None:
    def post(path: str, **more: object) -> dict[str, object]:
        return HTTP.post(f"{served.url}/v1/uploads{path}", **more).raise_for_status().json()  # type: ignore

    begun = post("", json={"filename": "a.log", "bytes": 8, "purpose": "user_data", "mime_type": "text/plain"})
    Upload.model_validate(begun, strict=True)
    parts = [post(f"/{begun['id']}/parts", files={"data": io.BytesIO(text)}) for text in (b"one ", b"two\n")]
    UploadPart.model_validate(parts[0], strict=True)
    # What a client that lost its notes asks, to send only what is missing.
    known = HTTP.get(f"{served.url}/v1/uploads/{begun['id']}").json()
    assert {each["id"] for each in known["parts"]} == {each["id"] for each in parts}
    order = [each["id"] for each in parts]
    md5 = "0cfbb3ebd5ad0cf4a4b0cc1f5a4f3b5f"
    wrong = HTTP.post(f"{served.url}/v1/uploads/{begun['id']}/complete", json={"part_ids": order, "md5": md5})
    assert wrong.status_code == 400
    done = post(f"/{begun['id']}/complete", json={"part_ids": order})
    again = post(f"/{begun['id']}/complete", json={"part_ids": order})
    assert done["file"] == again["file"]


def test_lists_pages_and_deletion(client: openai.OpenAI, served: Served) -> None:
    made = [client.files.create(file=(f"{n}.jsonl", b'{"text": "x"}\n'), purpose="fine-tune").id for n in range(3)]
    FileObject.model_validate(HTTP.get(f"{served.url}/v1/files/{made[0]}").json(), strict=True)
    page = client.files.list(purpose="fine-tune", limit=2, order="asc", after=made[0])
    assert [each.id for each in page.data] == made[1:]
    assert [each.id for each in client.files.list(purpose="fine-tune", limit=2)][:3] == made[::-1]
    reply = HTTP.delete(f"{served.url}/v1/files/{made[0]}").json()
    assert FileDeleted.model_validate(reply, strict=True).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(made[0])


def test_a_file_may_go_by_itself(client: openai.OpenAI) -> None:
    kept = client.files.create(
        file=("a.log", b"x\n"), purpose="user_data", expires_after={"anchor": "created_at", "seconds": 3600}
    )
    assert kept.expires_at is not None
    assert kept.expires_at - kept.created_at == 3600
    with pytest.raises(openai.BadRequestError):
        client.files.create(
            file=("a.log", b"x\n"), purpose="user_data", expires_after={"anchor": "created_at", "seconds": 1}
        )


@pytest.mark.parametrize(
    ("path", "options", "status"),
    [
        ("/files", {"files": {"file": ("a", b"x")}}, 400),
        ("/files", {"files": {"file": ("a", b"x")}, "data": {"purpose": "vision"}}, 400),
        ("/files", {"files": {"other": ("a", b"x")}, "data": {"purpose": "evals"}}, 400),
        ("/files", {"json": {"purpose": "evals"}}, 400),
        ("/files", {"content": b"--x\r\n", "headers": {"Content-Type": "multipart/form-data; boundary=x"}}, 400),
        ("/uploads", {"json": {"filename": "a", "bytes": 0}}, 400),
        ("/uploads", {"json": {"filename": "a", "bytes": 1, "purpose": "assistants"}}, 400),
        ("/uploads", {"json": {"filename": "a\r\nX: 1", "bytes": 1}}, 400),
        ("/uploads/upload_x/parts", {"files": {"data": ("a", b"x")}}, 404),
        ("/uploads/upload_x/complete", {"json": {"part_ids": []}}, 404),
        ("/uploads/upload_x/cancel", {}, 404),
    ],
)
def test_what_is_wrong_is_said_in_the_error_shape(served: Served, path: str, options: dict, status: int) -> None:  # type: ignore
    reply = HTTP.post(f"{served.url}/v1{path}", **options)
    assert reply.status_code == status, reply.text
    assert set(reply.json()["error"]) == {"message", "type", "param", "code"}


def test_unknown_files_and_uploads_are_404(served: Served) -> None:
    for path in ("/files/file-x", "/files/file-x/content", "/files/file-results-x", "/uploads/upload_x"):
        assert HTTP.get(f"{served.url}/v1{path}").status_code == 404


def test_a_page_that_was_stored_is_saved_and_never_shown(client: openai.OpenAI, served: Served) -> None:
    page = client.files.create(file=("x.html", b"<script>alert(1)</script>"), purpose="user_data")
    headers = HTTP.get(f"{served.url}/v1/files/{page.id}/content").headers
    assert headers["content-disposition"].startswith("attachment;")
    assert headers["content-type"] == "application/octet-stream"
    assert headers["x-content-type-options"] == "nosniff"


@given(st.text(min_size=1))
def test_a_file_name_cannot_break_out_of_its_header(name: str) -> None:
    try:
        value = disposition(name)
    except UnicodeEncodeError:
        return  # a lone surrogate; names are checked before they are stored
    assert value.isascii()
    assert value.isprintable()
    assert not set(value.removeprefix("attachment; filename*=UTF-8''")) & set(" \"';,")


def test_rows_of_the_wrong_format_are_refused_with_the_first_bad_row(client: openai.OpenAI) -> None:
    def stored(text: str, purpose: str = "fine-tune") -> str:
        return client.files.create(file=("rows.jsonl", text.encode()), purpose=purpose).id  # type: ignore[arg-type]

    good, chat = json.dumps({"text": "x"}), json.dumps({"messages": [{"role": "user", "content": "x"}]})
    for file, kind, said in (
        (stored(f"{good}\n{good}\n"), "supervised", "row 1: a corpus row, expected sharegpt"),
        (stored(f'{good}\n{{"text": 5}}\n'), "cpt", "row 2: `text`"),
        (stored(f"{good}\nnot json\n"), "cpt", "row 2"),
        (stored(f"{chat}\n"), "supervised", "row 1"),
        (stored(""), "cpt", "no rows"),
    ):
        with pytest.raises(openai.BadRequestError) as fault:
            client.fine_tuning.jobs.create(model="tiny", training_file=file, method={"type": kind})  # type: ignore
        assert said in fault.value.message, fault.value.message
        assert file in fault.value.message
        assert fault.value.param == "training_file"
    with pytest.raises(openai.BadRequestError, match="purpose 'user_data', expected 'fine-tune'"):
        client.fine_tuning.jobs.create(model="tiny", training_file=stored(good, "user_data"))
    for file in ("file-0123456789abcdef01234567", "nothing@3"):
        with pytest.raises(openai.NotFoundError):
            client.fine_tuning.jobs.create(model="tiny", training_file=file)
