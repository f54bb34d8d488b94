"""Downloads from a real server on loopback that cuts connections, forgets ranges and changes files."""

import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from loglore.data import catalog, fetch
from loglore.data.catalog import Remote, Source
from loglore.errors import InputError, JobError

CONTENT = bytes(range(256)) * 4000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Site:
    """Files by path; cuts: after how many bytes each of the next answers breaks off; ranges asked for."""

    files: dict[str, bytes] = field(default_factory=dict)
    cuts: list[int] = field(default_factory=list)
    ranges: list[str] = field(default_factory=list)
    knows_ranges: bool = True
    url: str = ""


@pytest.fixture
def site() -> Iterator[Site]:
    served = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = served.files.get(self.path)
            if content is None:
                self.send_error(404)
                return
            tag = f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'
            start = 0
            asked = self.headers.get("Range", "")
            if asked and served.knows_ranges:
                served.ranges.append(asked)
                if self.headers.get("If-Range", tag) == tag:
                    start = int(asked.removeprefix("bytes=").rstrip("-"))
            if start >= len(content) > 0:
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.end_headers()
                return
            self.send_response(206 if start else 200)
            self.send_header("ETag", tag)
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            cut = served.cuts.pop(0) if served.cuts else len(content)
            self.wfile.write(content[start : start + cut])

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield served
    server.shutdown()
    server.server_close()


def source(site: Site, **changes: object) -> Source:
    remote = Remote("a.json", f"{site.url}/a.json", len(CONTENT), f"sha256:{SHA256}")
    return Source("set", "what", "https://example.org/page", "terms", "cite", (replace(remote, **changes),))


def get(which: Source, folder: Path, **options: object) -> list[fetch.Fetched]:
    return fetch.fetch(which, folder, pause=lambda seconds: None, **options)


def test_a_download_that_is_cut_goes_on_where_it_stopped(site: Site, tmp_path: Path) -> None:
    site.files["/a.json"] = CONTENT
    site.cuts = [100_000, 300_000]
    told: list[tuple[str, int, int]] = []
    (fetched,) = get(source(site), tmp_path, on_progress=lambda *what: told.append(what))
    assert fetched.path.read_bytes() == CONTENT
    assert (fetched.sha256, fetched.verified, fetched.downloaded) == (SHA256, "SHA256 as published", True)
    assert site.ranges == ["bytes=100000-", "bytes=400000-"]
    assert told[-1] == ("a.json", len(CONTENT), len(CONTENT))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["SHA256SUMS", "a.json"]
    (again,) = get(source(site), tmp_path)
    assert not again.downloaded and len(site.ranges) == 2


def test_a_later_call_goes_on_after_the_attempts_are_used_up(site: Site, tmp_path: Path) -> None:
    site.files["/a.json"] = CONTENT
    site.cuts = [1000] * fetch.ATTEMPTS
    with pytest.raises(JobError, match=r"set: cannot download a.json .*get it from https://example.org/page"):
        get(source(site), tmp_path)
    assert (tmp_path / "a.json.part").stat().st_size == 1000 * fetch.ATTEMPTS
    get(source(site), tmp_path)
    assert site.ranges[-1] == f"bytes={1000 * fetch.ATTEMPTS}-"
    assert (tmp_path / "a.json").read_bytes() == CONTENT


def test_a_server_without_ranges_sends_all_of_it_again(site: Site, tmp_path: Path) -> None:
    site.files["/a.json"] = CONTENT
    site.knows_ranges = False
    site.cuts = [5000]
    get(source(site), tmp_path)
    assert (tmp_path / "a.json").read_bytes() == CONTENT


def test_a_file_that_changed_meanwhile_is_not_joined_with_its_old_part(site: Site, tmp_path: Path) -> None:
    site.files["/a.json"] = CONTENT
    site.cuts = [5000] * fetch.ATTEMPTS
    with pytest.raises(JobError):
        get(source(site, size=0, hash=""), tmp_path)
    site.files["/a.json"] = b"new" * 20_000
    get(source(site, size=0, hash=""), tmp_path)
    assert (tmp_path / "a.json").read_bytes() == b"new" * 20_000


def test_a_whole_part_is_not_downloaded_again(site: Site, tmp_path: Path) -> None:
    site.files["/a.json"] = CONTENT
    (tmp_path / "a.json.part").write_bytes(CONTENT)
    (fetched,) = get(source(site, size=0, hash=""), tmp_path)
    assert fetched.path.read_bytes() == CONTENT


def test_a_wrong_hash_is_refused_and_the_download_removed(site: Site, tmp_path: Path) -> None:
    site.files["/a.json"] = CONTENT[:-1] + b"x"
    with pytest.raises(InputError, match=r"a.json: .* expected .*Not the file that was published"):
        get(source(site), tmp_path)
    assert not (tmp_path / "a.json").exists() and not (tmp_path / "a.json.part").exists()


def test_without_a_published_hash_the_first_download_is_remembered(site: Site, tmp_path: Path) -> None:
    site.files["/a.json"] = CONTENT
    (first,) = get(source(site, size=0, hash=""), tmp_path)
    assert first.verified == "no published hash: SHA-256 recorded in SHA256SUMS, trusted on first use"
    assert (tmp_path / "SHA256SUMS").read_text() == f"{SHA256}  a.json\n"
    (tmp_path / "a.json").unlink()
    site.files["/a.json"] = CONTENT + b"more"
    with pytest.raises(InputError, match="Not the file that was published"):
        get(source(site, size=0, hash=""), tmp_path)


def test_a_git_lfs_pointer_leads_to_the_file(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "GITHUB", f"{site.url}/raw")
    monkeypatch.setattr(fetch, "GITHUB_LFS", f"{site.url}/media")
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{SHA256}\nsize {len(CONTENT)}\n"
    site.files = {"/raw/a.json": pointer.encode(), "/media/a.json": CONTENT}
    (fetched,) = get(source(site, url=f"{site.url}/raw/a.json", size=0, hash=""), tmp_path)
    assert fetched.path.read_bytes() == CONTENT and fetched.verified == "SHA256 as published"
    other = source(site, name="b.json", url=f"{site.url}/other", size=0, hash="")
    site.files["/other"] = pointer.encode()
    with pytest.raises(InputError, match="a Git LFS pointer stands in place of the file"):
        get(other, tmp_path)


def test_zenodo_lists_files_with_their_hashes(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "ZENODO_API", f"{site.url}/api")
    md5 = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()
    files = [
        {"key": name, "size": len(CONTENT), "checksum": f"md5:{md5}", "links": {"self": f"{site.url}/{name}"}}
        for name in ("Apache.zip", "BGL.zip")
    ]
    site.files = {"/api/7": json.dumps({"files": files}).encode(), "/Apache.zip": CONTENT}
    record = Source("hub", "what", "page", "terms", "cite", zenodo="7")
    (fetched,) = get(record, tmp_path, only=["Ap*"])
    assert (fetched.path.name, fetched.verified) == ("Apache.zip", "MD5 as published")
    with pytest.raises(InputError, match=r"hub: no file matches X.zip; it has Apache.zip, BGL.zip"):
        get(record, tmp_path, only=["X.zip"])
    site.files["/api/8"] = b'{"message": "gone"}'
    with pytest.raises(JobError, match="not the list of files that was expected"):
        get(replace(record, zenodo="8"), tmp_path / "other")


def test_offline_says_where_to_get_it_and_takes_a_path(tmp_path: Path) -> None:
    gone = Site(url="http://127.0.0.1:9")
    with pytest.raises(
        JobError, match=r"^set: cannot download a.json \(.*\); get it from https://example.org/page and give"
    ):
        get(source(gone), tmp_path / "data")
    given = tmp_path / "given"
    given.mkdir()
    with pytest.raises(InputError, match=r"a.json: no such file; expected a.json"):
        get(source(gone), tmp_path / "data", local=given)
    (given / "a.json").write_bytes(CONTENT)
    for local in (given, given / "a.json"):
        (fetched,) = get(source(gone), tmp_path / f"data-{local.name}", local=local)
        assert fetched.path.read_bytes() == CONTENT and not fetched.downloaded
    (given / "a.json").write_bytes(b"something else")
    with pytest.raises(InputError, match="Not the file that was published"):
        get(source(gone), tmp_path / "wrong", local=given)
    assert not (tmp_path / "wrong" / "a.json").exists()


def test_a_missing_file_on_the_server_is_asked_for_once(site: Site, tmp_path: Path) -> None:
    pauses: list[float] = []
    with pytest.raises(JobError, match="Not Found"):
        fetch.fetch(source(site), tmp_path, pause=pauses.append)
    assert not pauses


def test_the_catalog_states_terms_and_pins_what_it_can() -> None:
    assert set(catalog.SOURCES) == {"nlplog", "loghub", "loghub-2.0", "tutorial-chat"}
    for name, known in catalog.SOURCES.items():
        assert fetch.find(name) is known
        assert known.terms and known.cite and known.page.startswith("https://")
        assert all(word in known.notice() for word in (known.page, known.terms, known.cite))
        assert known.files or known.zenodo
        for remote in known.files:
            assert remote.url.startswith("https://") and remote.url.endswith(f"/{remote.name}")
            assert not remote.hash or len(remote.hash) == len("sha256:") + 64
    with pytest.raises(InputError, match="known are nlplog"):
        fetch.find("hdfs")
