"""No finished episode is lost, and nothing in the file can crash its reader."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tracemalloc
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runs import Episodes, StorageFailed, identity

ROOT = Path(__file__).parent.parent

NO_EPISODES = [
    b"",
    b"null",
    b"[]",
    b"{}",
    b"{",
    b"\xff\xfe{}",
    b"\0\0\0\0",
    b"[" * 100_000,
    b'{"dataset": "ROD", "sample": "1", "repeat": 0}',
    b'{"dataset": "ROD", "sample": 1, "repeat": 0, "outcome": "resolved"}',
    b'{"dataset": "ROD", "sample": "1", "repeat": true, "outcome": "resolved"}',
    b'{"dataset": null, "sample": "1", "repeat": 0, "outcome": "resolved"}',
    b'{"dataset": "ROD", "sample": "1", "repeat": 0, "outcome": "resolved"}{"dataset"',
    b'{"dataset": "ROD", "sample": "1", "repeat": 0, "outcome": "resolved", "n": ' + b"9" * 5000 + b"}",
]

samples = st.builds(
    lambda sample, repeat, outcome, more: {
        "dataset": "ROD",
        "sample": sample,
        "repeat": repeat,
        "outcome": outcome,
        "turns": [{"answer": each} for each in more] if isinstance(more, list) else [],
    },
    st.sampled_from("abc"),
    st.integers(0, 1),
    st.sampled_from(["resolved", "failed", "budget"]),
    st.lists(st.text(st.characters(codec=None), max_size=5), max_size=2),
)


def episode(sample: str, outcome: str = "resolved", repeat: int = 0, **more: Any) -> dict[str, Any]:
    return {"dataset": "ROD", "sample": sample, "repeat": repeat, "outcome": outcome, **more}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "episodes.jsonl"


def test_what_is_appended_is_read(path: Path) -> None:
    lines = [episode("1", turns=[{"answer": 'é\n"\ud800\u2028'}]), episode("1", repeat=1)]
    with Episodes(path) as episodes:
        assert list(episodes.read()) == []
        for line in lines:
            episodes.append(line)
        assert list(episodes.read()) == lines
        assert episodes.skipped == 0
    assert path.read_bytes().count(b"\n") == 2


@pytest.mark.parametrize(
    "wrong", [{}, {"dataset": "ROD"}, episode("1", repeat=True), episode("1") | {"sample": 1}]
)
def test_what_is_no_episode_is_not_appended(path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="an episode needs"):
        Episodes(path).append(wrong)
    assert not path.exists()


@pytest.mark.parametrize("junk", NO_EPISODES, ids=range(len(NO_EPISODES)))
def test_lines_that_are_no_episodes_are_skipped_counted_and_dropped(path: Path, junk: bytes) -> None:
    good = [json.dumps(episode(sample)).encode() for sample in "ab"]
    path.write_bytes(good[0] + b"\n" + junk + b"\n" + good[1] + b"\n" + good[1][:-3])
    episodes = Episodes(path)
    assert [line["sample"] for line in episodes.read()] == ["a", "b"]
    assert episodes.skipped == 2
    assert episodes.keep() == {("ROD", "a", 0), ("ROD", "b", 0)}
    assert episodes.skipped == 2
    assert path.read_bytes() == good[0] + b"\n" + good[1] + b"\n"


def test_the_last_line_of_an_identity_counts(path: Path) -> None:
    with Episodes(path) as episodes:
        for line in (episode("a", n=1), episode("b", "failed"), episode("a", n=2), episode("b")):
            episodes.append(line)
        assert episodes.keep(frozenset({"failed"})) == {("ROD", "a", 0), ("ROD", "b", 0)}
        assert list(episodes.read()) == [episode("a", n=2), episode("b")]


def test_an_identity_that_is_there_twice_is_read_once(path: Path) -> None:
    with Episodes(path) as episodes:
        for line in (episode("a", n=1), episode("b"), episode("a", n=2), episode("a", n=3, repeat=1)):
            episodes.append(line)
        assert list(episodes.read()) == [episode("b"), episode("a", n=2), episode("a", n=3, repeat=1)]


def test_outcomes_to_try_again_are_dropped_and_owed(path: Path) -> None:
    with Episodes(path) as episodes:
        for line in (episode("a"), episode("b", "failed"), episode("c", "budget"), episode("d", "refused")):
            episodes.append(line)
        assert episodes.keep(frozenset({"failed", "budget"})) == {("ROD", "a", 0), ("ROD", "d", 0)}
        episodes.append(episode("b"))
        assert [line["sample"] for line in episodes.read()] == ["a", "d", "b"]


def test_a_file_with_nothing_to_drop_is_not_touched(path: Path) -> None:
    assert Episodes(path).keep() == set()
    assert not path.exists()
    with Episodes(path) as episodes:
        episodes.append(episode("a"))
    before = path.stat()
    assert Episodes(path).keep(frozenset({"failed"})) == {("ROD", "a", 0)}
    after = path.stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


@given(lines=st.lists(samples, max_size=8), data=st.data())
def test_cut_anywhere_and_continued(
    tmp_path_factory: pytest.TempPathFactory, lines: list[dict[str, Any]], data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("run") / "episodes.jsonl"
    with Episodes(path) as episodes:
        for line in lines:
            episodes.append(line)
    content = path.read_bytes() if lines else b""
    cut = data.draw(st.integers(0, len(content)))
    path.write_bytes(content[:cut])
    whole = lines[: content[:cut].count(b"\n")]
    last = {identity(line): line for line in whole}
    with Episodes(path) as episodes:
        # Equal lines are told apart by their places only.
        counted = {identity(line): place for place, line in enumerate(whole)}.values()
        assert list(episodes.read()) == [whole[place] for place in sorted(counted)]
        taken: list[dict[str, Any]] = []
        finished = episodes.keep(frozenset({"failed"}), taken.append)
        assert taken == list(episodes.read())
        assert finished == {which for which, line in last.items() if line["outcome"] != "failed"}
        assert {identity(line): line for line in episodes.read()} == {
            which: last[which] for which in finished
        }
        episodes.append(episode("new"))
        assert list(episodes.read())[-1] == episode("new")
        assert episodes.skipped == 0


SPELLINGS = (
    lambda line: json.dumps(line, separators=(",", ":")),
    json.dumps,
    lambda line: json.dumps(dict(reversed(line.items())), separators=(",", ":"), ensure_ascii=False),
    lambda line: json.dumps(line, separators=(",", ":")).replace('"ROD"', '"R\\u004fD"'),
    lambda line: json.dumps(line, separators=(",", ":"))[:-1],
)


@given(lines=st.lists(st.tuples(samples, st.sampled_from(SPELLINGS)), max_size=8))
def test_however_a_line_is_spelled_the_last_of_an_episode_counts(
    tmp_path_factory: pytest.TempPathFactory, lines: list[Any]
) -> None:
    path = tmp_path_factory.mktemp("run") / "episodes.jsonl"
    text = "".join(spelled(line) + "\n" for line, spelled in lines)
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    whole = {}
    for line, spelled in lines:
        # What is cut off or no UTF-8 is no episode, and takes no other's place.
        with suppress(ValueError):
            json.loads(spelled(line).encode("utf-8"))
            whole.pop(identity(line), None)
            whole[identity(line)] = line
    episodes = Episodes(path)
    assert list(episodes.read()) == list(whole.values())
    assert episodes.keep() == whole.keys()
    assert list(episodes.read()) == list(whole.values())


@given(st.binary(max_size=300))
def test_no_bytes_crash_the_reader(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("run") / "episodes.jsonl"
    path.write_bytes(content)
    with Episodes(path) as episodes:
        list(episodes.read())
        episodes.keep()
        episodes.append(episode("a"))
        assert list(episodes.read()) == [episode("a")]


def test_reading_needs_the_memory_of_one_line(path: Path) -> None:
    with Episodes(path) as episodes:
        for number in range(200):
            episodes.append(episode(str(number), text="x" * 50_000))
        tracemalloc.start()
        try:
            assert sum(1 for _ in episodes.read()) == 200
            assert len(episodes.keep(frozenset({"failed"}))) == 200
            episodes.append(episode("0", "failed"))
            assert len(episodes.keep(frozenset({"failed"}))) == 199
            assert tracemalloc.get_traced_memory()[1] < 1_000_000
        finally:
            tracemalloc.stop()


def test_a_full_disk_is_a_run_error_and_loses_nothing(path: Path) -> None:
    path.symlink_to("/dev/full")
    with Episodes(path) as episodes, pytest.raises(StorageFailed, match="No space left"):
        episodes.append(episode("a"))


WRITER = """
import os, sys
from pathlib import Path
from runs import Episodes
number, size = int(sys.argv[2]), int(sys.argv[3])
with Episodes(Path(sys.argv[1])) as episodes:
    while True:
        episodes.append({"dataset": "ROD", "sample": str(number), "repeat": 0, "outcome": "resolved",
                         "text": "x" * size})
        os.write(1, b"%d\\n" % number)
        number += 1
"""


@pytest.mark.parametrize("size", [100, 2_000_000])
def test_kill_9_loses_no_episode_that_was_appended(path: Path, size: int) -> None:
    rng = random.Random(size)
    appended = 0
    for _ in range(4):
        command = [sys.executable, "-c", WRITER, str(path), str(appended), str(size)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            for _ in range(rng.randint(1, 12)):
                writer.stdout.readline()
            writer.kill()
            said = [line for line in writer.stdout.read().splitlines(keepends=True) if line.endswith(b"\n")]
        episodes = Episodes(path)
        seen = [int(line["sample"]) for line in episodes.read()]
        assert episodes.skipped <= 1
        assert seen == list(range(len(seen)))
        if said:
            assert len(seen) > int(said[-1])
        assert len(episodes.keep()) == len(seen)
        assert len(seen) > appended
        appended = len(seen)
