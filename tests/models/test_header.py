"""The GGUF header reader against the `gguf` package, and on damaged files."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loglore.errors import InputError
from loglore.models.header import context_length, read_header


def write_gguf(path: Path) -> None:
    from gguf import GGUFWriter

    writer = GGUFWriter(path, "llama")
    writer.add_name("tiny ログ")
    writer.add_array("some.strings", ["a", "bb", "日本"])
    writer.add_array("some.numbers", [1, 2, 3])
    writer.add_float32("some.float", 0.5)
    writer.add_bool("some.bool", True)
    writer.add_context_length(4096)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture
def gguf(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.gguf"
    write_gguf(path)
    return path


def test_scalars_equal_those_of_the_gguf_package(gguf: Path) -> None:
    from gguf import GGUFReader

    theirs = {
        key: field.contents()
        for key, field in GGUFReader(gguf).fields.items()
        if not key.startswith("GGUF.") and not isinstance(field.contents(), list)
    }
    assert read_header(gguf) == theirs
    assert theirs["general.name"] == "tiny ログ"


def test_context_length(gguf: Path) -> None:
    assert context_length(gguf) == 4096


def test_cut_off_anywhere_in_the_header_is_an_input_error(gguf: Path, tmp_path: Path) -> None:
    whole = gguf.read_bytes()
    keys_end = whole.index(b"llama.context_length") + len(b"llama.context_length") + 8
    for length in range(keys_end):
        cut = tmp_path / "cut.gguf"
        cut.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"cut\.gguf"):
            read_header(cut)


@given(noise=st.binary(max_size=200))
def test_noise_after_the_magic_never_ends_in_another_error(
    noise: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "noise.gguf"
    path.write_bytes(b"GGUF" + noise)
    with pytest.raises(InputError):
        context_length(path)


def test_what_is_no_gguf(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_header(tmp_path / "missing.gguf")
    (tmp_path / "a.gguf").write_text("hello world")
    with pytest.raises(InputError, match="not a GGUF"):
        read_header(tmp_path / "a.gguf")
