"""GGUF headers: what they say, and that no damaged one does anything but say so."""

from __future__ import annotations

import struct
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_gguf import TEMPLATE, write_merger, write_model, write_projector

from providers import ModelNotFound, ProviderError, Unusable
from providers.llama.gguf import read_header, shards


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "tiny.gguf")


@pytest.fixture(scope="module")
def projector(tmp_path_factory) -> Path:
    return write_projector(tmp_path_factory.mktemp("models") / "mmproj.gguf", 96)


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def written(path: Path, *fields: bytes, version: int = 3, tensors: int = 0) -> Path:
    head = b"GGUF" + struct.pack("<IQQ", version, tensors, len(fields))
    path.write_bytes(head + b"".join(fields))
    return path


ONE_FIELD = b"GGUF" + struct.pack("<IQQ", 3, 0, 1)


def word(name: str, value: str) -> bytes:
    return text(name) + struct.pack("<I", 8) + text(value)


def number(name: str, value: int) -> bytes:
    return text(name) + struct.pack("<II", 4, value)


def test_a_model_says_what_it_is(model):
    header = read_header(model)
    assert (header.architecture, header.width, header.context) == ("llama", 64, 4096)
    assert (header.quantization, header.chat_template) == ("F32", TEMPLATE)
    assert not header.is_projector
    assert not header.sees
    assert not header.slides
    assert header.size == model.stat().st_size


def test_the_cache_for_a_token_is_keys_and_values_of_all_layers(model):
    # Two layers, two heads of 16 each, keys and values, in half precision.
    assert read_header(model).cache_bytes == 2 * 2 * (16 + 16) * 2


def test_a_projector_says_for_which_width_it_is(projector):
    header = read_header(projector)
    assert header.is_projector
    assert header.sees
    assert header.width == 96


def test_the_width_in_a_projector_of_an_old_converter_means_something_else(tmp_path):
    assert read_header(write_projector(tmp_path / "old.gguf", 96, recent=False)).width is None


def test_a_projector_for_larger_and_smaller_images(tmp_path):
    header = read_header(write_merger(tmp_path / "merger.gguf", 64))
    assert (header.sees, header.width) == (True, 64)


def test_a_projector_for_sound_does_not_see(tmp_path):
    deaf = text("clip.has_vision_encoder") + struct.pack("<I?", 7, False)
    header = read_header(written(tmp_path / "a.gguf", word("general.architecture", "clip"), deaf))
    assert header.is_projector
    assert not header.sees


def test_what_is_set_layer_by_layer_is_bounded_by_the_largest(tmp_path):
    kept = text("llama.attention.head_count_kv") + struct.pack("<IIQ3I", 9, 4, 3, 1, 4, 2)
    fields = [word("general.architecture", "llama"), kept]
    for name, value in (("block_count", 3), ("embedding_length", 64), ("attention.head_count", 8)):
        fields.append(number(f"llama.{name}", value))
    assert read_header(written(tmp_path / "m.gguf", *fields)).cache_bytes == 2 * 3 * 4 * (8 + 8)


def test_a_sliding_window_is_noticed(tmp_path):
    fields = word("general.architecture", "gemma3"), number("gemma3.attention.sliding_window", 1024)
    assert read_header(written(tmp_path / "g.gguf", *fields)).slides


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"hello", "is not a GGUF file"),
        (b"PK\3\4 a zip archive", "is not a GGUF file"),
        (b"GGUF", "ends within its header"),
        (b"GGUF" + struct.pack("<IQQ", 1, 0, 0), "GGUF version 1"),
        (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "GGUF version 50331648"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 2**63), "ends within its header"),
        (ONE_FIELD + text("x") + struct.pack("<I", 99), "type 99"),
        (ONE_FIELD + struct.pack("<Q", 2**64 - 1), "ends within its header"),
        (
            ONE_FIELD + text("x") + struct.pack("<IIQ", 9, 8, 2**60),
            "ends within",
        ),
        (
            ONE_FIELD + text("x") + struct.pack("<IIQ", 9, 0, 2**60),
            "ends within",
        ),
    ],
)
def test_what_is_no_header_is_said_in_one_sentence(tmp_path, content, said):
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    with pytest.raises(Unusable, match=said) as caught:
        read_header(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", ["missing.gguf", "."])
def test_what_is_no_file_is_named(tmp_path, name):
    with pytest.raises(ModelNotFound, match="There is no file"):
        read_header(tmp_path / name)


@given(data=st.data())
def test_a_damaged_header_raises_nothing_of_its_own(model, projector, tmp_path_factory, data):
    whole = data.draw(st.sampled_from([model, projector])).read_bytes()[:12_000]
    start, rest = data.draw(st.integers(0, len(whole))), data.draw(st.integers(0, len(whole)))
    path = tmp_path_factory.mktemp("broken") / "model.gguf"
    path.write_bytes(whole[:start] + data.draw(st.binary(max_size=12)) + whole[rest:])
    with suppress(ProviderError):
        header = read_header(path)
        assert header.cache_bytes >= 0
        assert header.width is None or header.width >= 0


def test_a_model_in_shards_is_all_of_them(tmp_path, model):
    parts = [tmp_path / f"big-0000{number}-of-00003.gguf" for number in (1, 2, 3)]
    for part in parts:
        part.write_bytes(model.read_bytes())
    assert shards(parts[0]) == parts
    assert read_header(parts[0]).size == 3 * model.stat().st_size
    parts[1].unlink()
    with pytest.raises(ModelNotFound, match="big-00002-of-00003"):
        read_header(parts[0])


def test_a_model_in_one_file_is_that_file(model):
    assert shards(model) == [model]
