import io
from pathlib import PurePath

import httpx2
import openai
from hypothesis import given
from hypothesis import strategies as st
from support_studio import LINES, Served

from loglore.api.uploads import safe_name


def test_the_official_client_uploads_in_parts(served: Served) -> None:
    client = openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0)
    content = ("\n".join(LINES) + "\n").encode() * 500
    done = client.uploads.upload_file_chunked(
        file=content,
        filename="../../big app.log",
        bytes=len(content),
        mime_type="text/plain",
        purpose="user_data",
        part_size=20_000,
    )
    assert done.status == "completed"
    assert done.file is not None
    assert done.file.filename == "big app.log"
    facts = httpx2.post(f"{served.url}/v1/studio/logs/facts", json={"logs": [{"file": done.file.id}]}).json()
    assert facts["lines"] == 500 * len(LINES)
    assert facts["sources"][0]["source"] == "big app.log"


def test_what_does_not_fit_is_refused(served: Served) -> None:
    def post(path: str, **more: object) -> httpx2.Response:
        return httpx2.post(f"{served.url}/v1/uploads{path}", **more)  # type: ignore[arg-type]

    upload = post("", json={"filename": "a", "bytes": 5, "purpose": "user_data", "mime_type": "text/plain"}).json()[
        "id"
    ]
    part = post(f"/{upload}/parts", files={"data": io.BytesIO(b"four")}).json()["id"]
    assert post(f"/{upload}/complete", json={"part_ids": [part]}).status_code == 400
    assert post(f"/{upload}/complete", json={"part_ids": ["part_x"]}).status_code == 400
    assert post("/upload_x/parts", files={"data": io.BytesIO(b"x")}).status_code == 404
    assert post(f"/{upload}/cancel").json()["status"] == "cancelled"
    assert post(f"/{upload}/complete", json={"part_ids": [part]}).status_code == 400
    assert post("", json={"filename": "a", "bytes": -1}).json()["error"]["param"] == "bytes"


@given(st.text())
def test_names_are_one_harmless_part(name: str) -> None:
    safe = safe_name(name)
    assert safe == PurePath(safe).name
    assert safe not in ("", ".", "..")
    assert not safe.startswith(".")
    assert len(safe) <= 100
    assert "\x00" not in safe
