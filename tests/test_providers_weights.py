"""Digests of weight files: right, remembered, and never stale."""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path

import pytest

from providers import ModelNotFound, Unusable
from providers.weights import Digests, combined

LATER = 10_000_000_000  # ns


def settled() -> int:
    """A clock by which every file of a test has long been written."""
    return time.time_ns() + LATER


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def weights(tmp_path) -> Path:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"some weights")
    return path


@pytest.fixture
def read(monkeypatch) -> list[str]:
    """Which files have been read through, in order."""
    files: list[str] = []
    digest = hashlib.file_digest

    def spy(file, name):
        files.append(Path(file.name).name)
        return digest(file, name)

    monkeypatch.setattr(hashlib, "file_digest", spy)
    return files


@pytest.mark.parametrize("data", [b"", b"x", b"some weights" * 100_000])
def test_it_is_the_sha256_of_the_bytes(tmp_path, data):
    (tmp_path / "w").write_bytes(data)
    assert Digests().of(tmp_path / "w") == sha256(data)


def test_a_file_is_read_once_also_by_the_next_process(weights, tmp_path, read):
    memory = tmp_path / "cache" / "weights.json"
    first = Digests(memory, settled)
    assert first.of(weights) == first.of(weights) == Digests(memory, settled).of(weights)
    assert read == ["model.gguf"]


def test_without_a_memory_it_remembers_for_itself(weights, read):
    digests = Digests(None, settled)
    assert digests.of(weights) == digests.of(weights)
    assert read == ["model.gguf"]


def test_another_size_or_time_is_read_again(weights, tmp_path):
    digests = Digests(tmp_path / "memory.json", settled)
    digests.of(weights)
    weights.write_bytes(b"more weights than before")
    assert digests.of(weights) == sha256(b"more weights than before")


def test_a_copy_that_takes_over_size_and_mtime_is_noticed(weights, tmp_path):
    digests = Digests(tmp_path / "memory.json", settled)
    digests.of(weights)
    before = weights.stat()
    weights.write_bytes(b"SOME WEIGHTS")
    os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert digests.of(weights) == sha256(b"SOME WEIGHTS")


def test_what_was_just_written_is_not_remembered(weights, tmp_path, read):
    digests = Digests(tmp_path / "memory.json")
    assert digests.of(weights) == digests.of(weights)
    assert read == ["model.gguf"] * 2
    assert not (tmp_path / "memory.json").exists()


def test_processes_add_to_one_memory(tmp_path, read):
    memory = tmp_path / "memory.json"
    one, other = Digests(memory, settled), Digests(memory, settled)
    for name, digests in (("a", one), ("b", other)):
        (tmp_path / name).write_text(name)
        digests.of(tmp_path / name)
    third = Digests(memory, settled)
    assert (third.of(tmp_path / "a"), third.of(tmp_path / "b")) == (sha256(b"a"), sha256(b"b"))
    assert read == ["a", "b"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "memory.json"]


@pytest.mark.parametrize("spoilt", ["", "{", "[]", '{"/x": 3}', '{"/x": []}', "\0"])
def test_a_spoilt_memory_is_made_anew(weights, tmp_path, spoilt):
    memory = tmp_path / "memory.json"
    memory.write_text(spoilt)
    assert Digests(memory, settled).of(weights) == sha256(b"some weights")
    assert list(json.loads(memory.read_text())) == [str(weights)]


def test_a_memory_that_cannot_be_written_is_done_without(weights, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    assert Digests(tmp_path / "file" / "memory.json", settled).of(weights) == sha256(b"some weights")


def test_a_link_is_the_file_behind_it(weights, tmp_path, read):
    (tmp_path / "link").symlink_to(weights)
    digests = Digests(None, settled)
    assert digests.of(tmp_path / "link") == digests.of(weights)
    assert read == ["model.gguf"]


@pytest.mark.parametrize("name", ["missing.gguf", "."])
def test_what_is_no_file_is_named(tmp_path, name):
    with pytest.raises(ModelNotFound, match="There is no file"):
        Digests().of(tmp_path / name)


def test_a_name_below_a_file_is_named(weights):
    with pytest.raises(Unusable, match=r"model\.gguf/inside cannot be read: Not a directory"):
        Digests().of(weights / "inside")


def test_a_file_that_grows_meanwhile_is_refused(weights, monkeypatch):
    digest = hashlib.file_digest

    def growing(file, name):
        with weights.open("ab") as end:
            end.write(b"!")
        return digest(file, name)

    monkeypatch.setattr(hashlib, "file_digest", growing)
    with pytest.raises(Unusable, match="changed while it was read"):
        Digests().of(weights)


def test_a_combination_knows_names_and_contents_but_no_order():
    assert combined({"a": "1", "b": "2"}) == combined({"b": "2", "a": "1"})
    others = [combined(each) for each in ({"a": "1"}, {"a": "2"}, {"b": "1"}, {"a": "1", "b": "1"}, {})]
    assert len(set(others)) == 5
