"""What is read once is what the `gguf` package reads."""

from pathlib import Path

import gguf
import numpy as np
import pytest

from loglore.models.gguf_reading import one_reading


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "m.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(512)
    writer.add_token_list(["disk", "full", "日本"])
    writer.add_tensor("token_embd.weight", np.arange(64, dtype=np.float32).reshape(2, 32))
    writer.add_tensor("packed", np.arange(68, dtype=np.uint8).reshape(2, 34), raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    for step in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file, writer.close):
        step()
    return path


def test_fields_and_tensors_are_those_of_the_package(file: Path) -> None:
    expected = gguf.GGUFReader(file)
    with one_reading():
        found = gguf.GGUFReader(file)
    assert list(found.fields) == list(expected.fields)
    assert [field.contents() for field in found.fields.values()] == [
        field.contents() for field in expected.fields.values()
    ]
    for ours, theirs in zip(found.tensors, expected.tensors, strict=True):
        assert (ours.name, ours.tensor_type) == (theirs.name, theirs.tensor_type)
        assert np.array_equal(ours.data, theirs.data) and ours.data.dtype == theirs.data.dtype
    assert len(found.tensors) == 2


def test_a_file_is_read_once_a_block_and_the_package_is_as_before(file: Path) -> None:
    before = (gguf.GGUFReader, gguf.get_tensor_name_map)
    with one_reading():
        first = gguf.GGUFReader(file)
        with one_reading():
            assert gguf.GGUFReader(file) is first
        assert gguf.GGUFReader(file) is first
        names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, 2)
        assert gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, 2) is names
    assert (gguf.GGUFReader, gguf.get_tensor_name_map) == before
    with one_reading():
        assert gguf.GGUFReader(file) is not first


def test_a_fault_leaves_the_package_as_before(tmp_path: Path) -> None:
    (tmp_path / "bad.gguf").write_bytes(b"GGUX" * 8)
    before = gguf.GGUFReader
    with pytest.raises(ValueError, match="magic"), one_reading():
        gguf.GGUFReader(tmp_path / "bad.gguf")
    assert gguf.GGUFReader is before
