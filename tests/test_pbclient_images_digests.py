"""A digest is remembered for the bytes it belongs to, and for no others."""

from __future__ import annotations

import asyncio
import hashlib
import os
import sqlite3
import zipfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pbclient.errors import FrameError
from pbclient.images.digests import FILE_NAME, SETTLED, WRITTEN_AT_ONCE, Digests, Known, Stamp
from pbclient.images.frames import FrameStore
from pbclient.images.pictures import Pictures

KNOWN = Known("0" * 64, (640, 480))


def stamp(number: int = 1, place: int = 0, changed: int = 7) -> Stamp:
    return Stamp(number, place, 3, 40_000, 5, changed, 0)


def later() -> int:
    return 100 * SETTLED


@pytest.fixture
def digests(tmp_path: Path) -> Iterator[Digests]:
    with Digests(tmp_path, later) as made:
        yield made


def test_known_again_in_the_next_run(tmp_path: Path) -> None:
    with Digests(tmp_path, later) as digests:
        digests.put(stamp(), KNOWN)
        digests.put(stamp(2), Known("1" * 64))
        assert digests.get(stamp()) == KNOWN
    with Digests(tmp_path, later) as again:
        assert again.get(stamp()) == KNOWN
        assert again.get(stamp(2)) == Known("1" * 64)


def test_seen_by_another_run_before_this_one_ends(tmp_path: Path, digests: Digests) -> None:
    for number in range(WRITTEN_AT_ONCE):
        digests.put(stamp(number), KNOWN)
    with Digests(tmp_path, later) as other:
        assert other.get(stamp(0)) == KNOWN
    assert digests.get(stamp(0)) == KNOWN


@pytest.mark.parametrize("field", range(len(stamp())))
def test_nothing_is_known_of_any_other_stamp(tmp_path: Path, field: int) -> None:
    other = Stamp(*(value + (place == field) for place, value in enumerate(stamp())))
    with Digests(tmp_path, later) as digests:
        digests.put(stamp(), KNOWN)
        assert digests.get(other) is None
    with Digests(tmp_path, later) as again:
        assert again.get(other) is None


NUMBERS = st.integers(0, 200) | st.integers(2**63 - 100, 2**63 - 1)
PLACES = st.just(0) | st.integers(0, 10)
PLACED = st.lists(st.builds(stamp, NUMBERS, PLACES), unique_by=lambda each: each[:2], min_size=1, max_size=30)


@given(PLACED)
def test_each_frame_is_found_by_itself_wherever_it_lies(
    tmp_path_factory: pytest.TempPathFactory, stamps: list[Stamp]
) -> None:
    folder = tmp_path_factory.mktemp("cache")
    known = {each: Known(f"{place:064}") for place, each in enumerate(stamps)}
    half = len(stamps) // 2
    with Digests(folder, later) as digests:
        for each in stamps[:half]:
            digests.put(each, known[each])
    with Digests(folder, later) as digests:
        assert [digests.get(each) for each in stamps[:half]] == [known[each] for each in stamps[:half]]
        assert not any(map(digests.get, stamps[half:]))
        for each in stamps[half:]:
            digests.put(each, known[each])
        assert [digests.get(each) for each in stamps] == [known[each] for each in stamps]
    with Digests(folder, later) as digests:
        assert [digests.get(each) for each in stamps] == [known[each] for each in stamps]


def test_what_was_written_meanwhile_is_still_known(digests: Digests) -> None:
    numbers = range(3 * WRITTEN_AT_ONCE)
    for number in numbers:
        assert digests.get(stamp(number)) is None
        digests.put(stamp(number), KNOWN)
        assert digests.get(stamp(number)) == KNOWN
    assert all(digests.get(stamp(number)) == KNOWN for number in numbers)


def test_what_cannot_be_written_holds_up_nobody(tmp_path: Path, digests: Digests) -> None:
    for number in range(2**63, 2**63 + WRITTEN_AT_ONCE):
        digests.put(stamp(number), KNOWN)
    with Digests(tmp_path, later) as other:
        other.put(stamp(), KNOWN)
    with Digests(tmp_path, later) as again:
        assert again.get(stamp()) == KNOWN


def test_a_row_that_cannot_be_read_hides_no_other(tmp_path: Path) -> None:
    with Digests(tmp_path, later) as digests:
        for number in range(64):
            digests.put(stamp(number), KNOWN)
    with closing(sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)) as connection:
        connection.execute("UPDATE Frames1 SET width = CAST(X'ff' AS TEXT) WHERE number = 3")
    with Digests(tmp_path, later) as again:
        found = [again.get(stamp(number)) for number in range(64)]
    assert found == [None if number == 3 else KNOWN for number in range(64)]


def test_a_look_up_passes_over_no_other_row(tmp_path: Path) -> None:
    steps = []
    with Digests(tmp_path, later) as digests:
        for place in range(10_000):
            digests.put(stamp(2, place), KNOWN)
    with Digests(tmp_path, later) as again:
        assert again._connection is not None
        again._connection.set_progress_handler(lambda: steps.append(1), 10)  # each ten steps of SQLite
        assert again.get(stamp(1)) is None
        assert again.get(stamp(2, 9_999)) == KNOWN
    assert len(steps) < 20


def test_what_was_changed_just_now_may_change_unseen(tmp_path: Path) -> None:
    with Digests(tmp_path, clock=lambda: SETTLED + 6) as digests:
        assert not digests.keeps(stamp(changed=7))
        digests.put(stamp(changed=7), KNOWN)
        assert digests.get(stamp(changed=7)) is None
        assert digests.keeps(stamp(changed=6))
        digests.put(stamp(changed=6), KNOWN)
        assert digests.get(stamp(changed=6)) == KNOWN


def test_without_a_folder_nothing_is_remembered() -> None:
    with Digests(None, later) as digests:
        assert not digests.keeps(stamp())
        digests.put(stamp(), KNOWN)
        assert digests.get(stamp()) is None


def test_numbers_beyond_sqlite_are_hashed_again(digests: Digests) -> None:
    huge = stamp(2**64 - 1)
    assert digests.get(huge) is None
    for number in range(WRITTEN_AT_ONCE - 1):
        digests.put(stamp(number), KNOWN)
    digests.put(huge, KNOWN)
    assert digests.get(huge) is None
    digests.put(stamp(), KNOWN)
    assert digests.get(stamp()) == KNOWN


@pytest.mark.parametrize("content", [b"", b"no database at all", b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_file_that_is_no_table_costs_time_only(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)
    with Digests(tmp_path, later) as digests:
        assert digests.get(stamp()) is None
        digests.put(stamp(), KNOWN)


@pytest.mark.parametrize("digest", [None, 5, b"0" * 64, "short", "0" * 65])
def test_rows_that_we_did_not_write(tmp_path: Path, digest: object) -> None:
    with Digests(tmp_path, later) as digests:
        digests.put(stamp(), KNOWN)
    with closing(sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)) as connection:
        connection.execute("UPDATE Frames1 SET digest = ?", (digest,))
    with Digests(tmp_path, later) as again:
        assert again.get(stamp()) is None


def test_two_runs_write_at_the_same_time(tmp_path: Path) -> None:
    with Digests(tmp_path, later) as one, Digests(tmp_path, later) as other:
        one.put(stamp(1), KNOWN)
        other.put(stamp(2), KNOWN)
    with Digests(tmp_path, later) as again:
        assert again.get(stamp(1)) == again.get(stamp(2)) == KNOWN


def age(path: Path) -> None:
    """As if nobody had touched it for long; the time of the last change of status stays."""
    os.utime(path, (1, 1))


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What pictures hash."""
    hashed: list[bytes] = []

    def sha256(data: bytes) -> str:
        hashed.append(data)
        return hashlib.sha256(data).hexdigest()

    monkeypatch.setattr("pbclient.images.pictures._sha256", sha256)
    return hashed


def opened(folder: Path, digests: Digests, path: str = "a/b.jpg") -> str:
    """The digest by which a run knows a frame."""

    async def main() -> str:
        with FrameStore(folder) as frames, Pictures(frames, digests) as pictures:
            return (await pictures.open(path, lambda image: image)).digest

    return asyncio.run(main())


def beyond() -> int:
    """A time at which everything that exists now is old."""
    return 2**62


def test_a_frame_is_hashed_once(tmp_path: Path, counted: list[bytes]) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.jpg").write_bytes(b"one")
    for _ in range(2):
        with Digests(tmp_path, beyond) as digests:
            assert opened(tmp_path, digests) == hashlib.sha256(b"one").hexdigest()
    assert counted == [b"one"]


def test_a_frame_that_changes_is_another(tmp_path: Path, counted: list[bytes]) -> None:
    frame = tmp_path / "a" / "b.jpg"
    frame.parent.mkdir()
    frame.write_bytes(b"one")
    age(frame)
    with Digests(tmp_path, beyond) as digests:
        opened(tmp_path, digests)
        # As long as before and, for who asks, as old: only the change of status tells.
        with frame.open("r+b") as file:
            file.write(b"two")
        age(frame)
        assert opened(tmp_path, digests) == hashlib.sha256(b"two").hexdigest()
        # Another file in its place.
        (tmp_path / "new.jpg").write_bytes(b"six")
        (tmp_path / "new.jpg").replace(frame)
        assert opened(tmp_path, digests) == hashlib.sha256(b"six").hexdigest()
    assert counted == [b"one", b"two", b"six"]


def test_a_member_of_an_archive_that_changes_is_another(tmp_path: Path, counted: list[bytes]) -> None:
    def pack(content: bytes) -> None:
        with zipfile.ZipFile(tmp_path / "new", "w") as archive:
            archive.writestr("a/b.jpg", content)
            archive.writestr("a/c.jpg", b"the other")
        (tmp_path / "new").replace(tmp_path / "frames.zip")

    pack(b"one")
    with Digests(tmp_path, beyond) as digests:

        async def both() -> list[str]:
            with FrameStore(tmp_path) as frames, Pictures(frames, digests) as pictures:
                paths = ("a/b.jpg", "a/c.jpg", "a/b.jpg")
                return [(await pictures.open(path, lambda image: image)).digest for path in paths]

        first = asyncio.run(both())
        assert first == [hashlib.sha256(each).hexdigest() for each in (b"one", b"the other", b"one")]
        seen = len(counted)
        assert asyncio.run(both()) == first
        # Archives are looked into when a frame is first read, so that one frame a run is read anyway.
        assert len(counted) <= seen + 1
        pack(b"two")
        assert asyncio.run(both())[0] == hashlib.sha256(b"two").hexdigest()


def test_a_link_out_of_the_folder_is_refused_whatever_is_known(tmp_path: Path) -> None:
    folder, outside = tmp_path / "data", tmp_path / "outside"
    folder.mkdir()
    outside.mkdir()
    (outside / "b.jpg").write_bytes(b"secret")
    (folder / "a").symlink_to(outside)
    (folder / "c.jpg").symlink_to(outside / "b.jpg")
    with Digests(tmp_path, beyond) as digests:
        for path in ("a/b.jpg", "c.jpg"):
            with pytest.raises(FrameError, match="link out of the data folder"):
                opened(folder, digests, path)


def test_sizes_are_looked_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "b.jpg").write_bytes(b"a picture")
    looked: list[bytes] = []

    def size(data: bytes) -> tuple[int, int]:
        looked.append(data)
        return 3000, 1000

    monkeypatch.setattr("pbclient.images.encoding.picture_size", size)

    async def identity(digests: Digests) -> object:
        with FrameStore(tmp_path) as frames, Pictures(frames, digests) as pictures:
            return (await pictures.open("b.jpg", lambda image: image, 2000)).identity["fit"]

    for _ in range(2):
        with Digests(tmp_path, beyond) as digests:
            assert asyncio.run(identity(digests)) == [2000, 666]
    assert looked == [b"a picture"]
