"""Frames come out of the folder and its archives, and nothing else does."""

from __future__ import annotations

import io
import os
import struct
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pbclient.errors import DataError, FrameError
from pbclient.images import frames
from pbclient.images.frames import FrameStore

FRAME = bytes(range(256)) * 40


def pack(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def put(path: Path, data: bytes = FRAME) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def test_extracted_frame_is_read(tmp_path: Path) -> None:
    put(tmp_path / "set/a 1.jpg")
    with FrameStore(tmp_path) as store:
        assert store.read("set/a 1.jpg") == FRAME
        assert store.read("./set//a 1.jpg") == FRAME
        assert store.read_at_once("set/a 1.jpg", len(FRAME)) == FRAME
        assert store.read_at_once("set/a 1.jpg", len(FRAME) - 1) is None


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("member", ["set/a.jpg", "./set/a.jpg", "test/set/a.jpg", "./test/set/a.jpg"])
def test_zipped_frame_is_read_in_place(tmp_path: Path, member: str, method: int) -> None:
    pack(tmp_path / "Any Name.ZIP", {"set/": b"", member: FRAME}, method)
    with FrameStore(tmp_path) as store:
        assert store.read("set/a.jpg") == FRAME


def test_archives_are_opened_in_a_thread_first(tmp_path: Path) -> None:
    pack(tmp_path / "a.zip", {"a.jpg": FRAME})
    store = FrameStore(tmp_path)
    assert store.read_at_once("a.jpg", len(FRAME)) is None
    store.read("a.jpg")
    assert store.read_at_once("a.jpg", len(FRAME)) == FRAME
    assert store.read_at_once("a.jpg", len(FRAME) - 1) is None
    store.close()


def test_extracted_goes_before_zipped_and_the_first_archive_by_name_wins(tmp_path: Path) -> None:
    pack(tmp_path / "b.zip", {"x": b"b", "y": b"b"})
    pack(tmp_path / "a.zip", {"x": b"a", "y": b"a"})
    put(tmp_path / "x", b"file")
    with FrameStore(tmp_path) as store:
        assert (store.read("x"), store.read("y")) == (b"file", b"a")


def test_last_of_equal_members_wins_as_it_does_for_unzip(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("x", b"old")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("x", b"new")
    with FrameStore(tmp_path) as store:
        assert store.read("x") == b"new"


def test_archive_with_bytes_before_it_and_streamed_members(tmp_path: Path) -> None:
    class Stream(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def tell(self) -> int:
            raise OSError

    stream = Stream()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x", FRAME)
    (tmp_path / "a.zip").write_bytes(b"#!/bin/sh\n" + stream.getvalue())
    with FrameStore(tmp_path) as store:
        assert store.read("x") == FRAME


def test_the_folder_and_its_archives_may_be_links(tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshot"
    put(blobs / "0a1b")
    pack(blobs / "2c3d", {"x": FRAME})
    snapshot.mkdir()
    (snapshot / "a.zip").symlink_to(blobs / "2c3d")
    put(snapshot / "real.jpg")
    (tmp_path / "data").symlink_to(snapshot)
    with FrameStore(tmp_path / "data") as store:
        assert store.read("x") == store.read("real.jpg") == FRAME


@pytest.mark.parametrize(
    "path",
    [
        "", ".", "/", "..", "../secret", "a/../../secret", "a/..", "/etc/passwd", "//etc/passwd",
        "C:/secret", "c:secret", "\\\\host\\share", "a\\..\\..\\secret", "a\0.jpg", "\ud800.jpg", "a" * 2000,
    ],
)  # fmt: skip
def test_no_path_leads_out_of_the_folder(tmp_path: Path, path: str) -> None:
    put(tmp_path / "secret")
    (tmp_path / "data/a").mkdir(parents=True)
    with FrameStore(tmp_path / "data") as store, pytest.raises(FrameError):
        store.read(path)


def test_links_may_not_lead_out_of_the_folder(tmp_path: Path) -> None:
    put(tmp_path / "secret/a.jpg")
    put(tmp_path / "database.jpg")
    data = tmp_path / "data"
    put(data / "inside.jpg")
    (data / "file.jpg").symlink_to(tmp_path / "secret/a.jpg")
    (data / "folder").symlink_to(tmp_path / "secret")
    (data / "sibling.jpg").symlink_to(tmp_path / "database.jpg")
    (data / "loop.jpg").symlink_to(data / "loop.jpg")
    (data / "within.jpg").symlink_to("inside.jpg")
    with FrameStore(data) as store:
        for path in ("file.jpg", "folder/a.jpg", "sibling.jpg"):
            with pytest.raises(FrameError, match="link out of the data folder"):
                store.read(path)
        with pytest.raises(FrameError, match="symbolic links"):
            store.read("loop.jpg")
        assert store.read("within.jpg") == FRAME


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    os.mkfifo(tmp_path / "pipe.zip")
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "folder.zip").mkdir()
    with FrameStore(tmp_path) as store:
        for name in ("pipe", "folder"):
            with pytest.raises(FrameError, match=rf"'{name}\.jpg' is not a regular file"):
                store.read(f"{name}.jpg")
        with pytest.raises(FrameError, match="0 zip archives"):
            store.read("missing.jpg")


def test_large_frames_are_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "big.jpg").open("wb") as file:
        file.truncate(frames.MAX_FRAME_BYTES + 1)
    pack(tmp_path / "a.zip", {"zeros": bytes(frames.MAX_FRAME_BYTES + 1)})
    with FrameStore(tmp_path) as store:
        for path in ("big.jpg", "zeros"):
            with pytest.raises(FrameError, match=rf"'{path}'.* is larger than 64 MiB"):
                store.read(path)


def test_missing_frame_is_named(tmp_path: Path) -> None:
    pack(tmp_path / "a.zip", {"x": FRAME})
    with (
        FrameStore(tmp_path) as store,
        pytest.raises(FrameError, match=r"'set/a.jpg' is missing from .*1 zip"),
    ):
        store.read("set/a.jpg")


def test_broken_archive_matters_only_to_frames_that_are_nowhere_else(tmp_path: Path) -> None:
    whole = pack(tmp_path / "whole.zip", {"x": FRAME}).read_bytes()
    put(tmp_path / "torn.zip", whole[: len(whole) // 2])
    put(tmp_path / "empty.zip", b"")
    with FrameStore(tmp_path) as store:
        assert store.read("x") == FRAME
        with pytest.raises(DataError, match=r"'y'.*empty\.zip .* or .*torn\.zip .*: download it again"):
            store.read("y")


def packed_start(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return (compressor.compress(data) + compressor.flush())[:1]


def edit(path: Path, old: bytes, new: bytes, where: int = 0) -> None:
    data = path.read_bytes()
    start = data.index(old, where)
    path.write_bytes(data[:start] + new + data[start + len(old) :])


def test_member_that_is_not_what_the_archive_says(tmp_path: Path) -> None:
    pack(tmp_path / "crc.zip", {"crc": FRAME}, zipfile.ZIP_STORED)
    edit(tmp_path / "crc.zip", FRAME, FRAME[:-1] + b"?")
    pack(tmp_path / "deflate.zip", {"deflate": b"a" * 5000})
    # 7 starts a block of a kind that deflate does not know.
    edit(tmp_path / "deflate.zip", b"deflate" + packed_start(b"a" * 5000), b"deflate\x07")
    # It says it unpacks to 16 bytes and would unpack to 16 MiB.
    pack(tmp_path / "bomb.zip", {"bomb": bytes(1 << 24)})
    edit(tmp_path / "bomb.zip", struct.pack("<I", 1 << 24), struct.pack("<I", 16), 64)  # not the local header
    pack(tmp_path / "magic.zip", {"magic": FRAME})
    edit(tmp_path / "magic.zip", b"PK\x03\x04", b"PK\x03\x05")
    with FrameStore(tmp_path) as store:
        for path in ("crc", "deflate", "bomb", "magic"):
            with pytest.raises(FrameError, match=rf"'{path}' in .*{path}\.zip is broken"):
                store.read(path)


def test_members_that_cannot_be_read_say_why(tmp_path: Path) -> None:
    pack(tmp_path / "bzip2.zip", {"bzip2": FRAME}, zipfile.ZIP_BZIP2)
    with zipfile.ZipFile(tmp_path / "locked.zip", "w") as archive:
        archive.writestr("locked", FRAME)
        archive.getinfo("locked").flag_bits |= 1
    with FrameStore(tmp_path) as store:
        with pytest.raises(FrameError, match=r"'bzip2' in .*bzip2.zip is compressed by method 12"):
            store.read("bzip2")
        with pytest.raises(FrameError, match=r"'locked' in .*locked.zip is encrypted"):
            store.read("locked")


def test_threads_read_at_once(tmp_path: Path) -> None:
    members = {f"{number}.jpg": os.urandom(2000) * 20 for number in range(40)}
    pack(tmp_path / "a.zip", dict(list(members.items())[::2]))
    pack(tmp_path / "b.zip", dict(list(members.items())[1::2]))
    with FrameStore(tmp_path) as store, ThreadPoolExecutor(8) as threads:
        names = list(members) * 10
        assert list(threads.map(store.read, names)) == [members[name] for name in names]


_GOOD = io.BytesIO()
with zipfile.ZipFile(_GOOD, "w", zipfile.ZIP_DEFLATED) as _archive:
    _archive.writestr("x", b"0123456789" * 9)
    _archive.writestr("y", b"9876543210" * 9)


@settings(deadline=None)  # files and decoders take their time
@given(st.data())
def test_broken_archives_raise_our_errors_only(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    content = bytearray(_GOOD.getvalue())
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, len(content))) or None]
    folder = tmp_path_factory.mktemp("fuzz", numbered=True)
    (folder / "a.zip").write_bytes(content)
    with FrameStore(folder) as store:
        for name, whole in (("x", b"0123456789" * 9), ("y", b"9876543210" * 9)):
            with suppress(DataError, FrameError):
                assert store.read(name) == whole
