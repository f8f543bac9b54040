"""Lines are appended whole and files replaced whole, whatever the disk and a kill do."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runs import RunError, StorageFailed, replace_file
from runs.files import LineFile, leftovers, read_lines


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """No file of this process may grow past `size`: what is beyond is written in part, then fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


@contextmanager
def as_nobody() -> Iterator[None]:
    """Without root's right to everything."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@given(
    content=st.binary(max_size=200),
    lines=st.lists(st.binary(max_size=20).map(lambda data: data.replace(b"\n", b""))),
)
def test_no_line_is_glued_to_a_torn_one(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, lines: list[bytes]
) -> None:
    path = tmp_path_factory.mktemp("lines") / "file"
    path.write_bytes(content)
    with closing(LineFile.open(path)) as file:
        for line in lines:
            file.append(line + b"\n")
    whole = content[: content.rfind(b"\n") + 1]
    assert path.read_bytes() == whole + b"".join(line + b"\n" for line in lines)


@pytest.mark.parametrize("tail", [0, 1, (1 << 16) - 1, 1 << 16, (1 << 16) + 1, 1 << 18])
def test_a_torn_tail_of_any_length_is_cut(tmp_path: Path, tail: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one\ntwo\n" + b"x" * tail)
    LineFile.open(path).close()
    assert path.read_bytes() == b"one\ntwo\n"


def test_a_write_that_fails_half_way_leaves_nothing_of_its_line(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with closing(LineFile.open(path)) as file:
        file.append(b"first\n")
        with largest_file(10), pytest.raises(StorageFailed, match="cannot be written"):
            file.append(b"0123456789\n")
        assert path.read_bytes() == b"first\n"
        file.append(b"second\n")
    assert path.read_bytes() == b"first\nsecond\n"


def test_after_a_line_that_cannot_be_taken_back_nothing_is_written(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.symlink_to("/dev/full")  # takes nothing, and cannot be cut
    with closing(LineFile.open(path)) as file:
        with pytest.raises(StorageFailed, match="No space left"):
            file.append(b"x\n")
        with pytest.raises(StorageFailed, match="torn line"):
            file.append(b"y\n")


def test_a_full_disk_is_one_sentence_with_the_fix(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.symlink_to("/dev/full")
    with closing(LineFile.open(path)) as file, pytest.raises(RunError) as caught:
        file.append(b"line\n")
    assert str(caught.value) == (
        f"{path} cannot be written (No space left on device): free some space and run the same command again."
    )


def test_reading_what_is_no_file(tmp_path: Path) -> None:
    assert list(read_lines(tmp_path / "nothing")) == []
    with pytest.raises(StorageFailed, match="cannot be read"):
        list(read_lines(tmp_path))


def test_replacing_is_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "file"
    replace_file(path, [b"old", b" one"])
    assert path.read_bytes() == b"old one"
    with largest_file(10), pytest.raises(StorageFailed):
        replace_file(path, [b"x" * 20])

    def broken() -> Iterator[bytes]:
        yield b"new"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replace_file(path, broken())
    assert path.read_bytes() == b"old one"
    assert list(tmp_path.iterdir()) == [path]


def test_leftovers_are_those_of_one_file(tmp_path: Path) -> None:
    ours = tmp_path / "run.json.17.tmp"
    for name in ("run.json", "run.json.17.tmp", "episodes.jsonl.17.tmp"):
        (tmp_path / name).touch()
    assert leftovers(tmp_path / "run.json") == [ours]


def test_without_the_right_to_write(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with as_nobody():
        if os.access(tmp_path, os.W_OK, effective_ids=True):
            tmp_path.chmod(0o500)
        with pytest.raises(StorageFailed, match="get the right to use it"):
            LineFile.open(path)
