"""What a run counts while it plays is what its folder says afterwards, over any number of lives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_pbclient_scores_oeg import judged, unjudged
from test_pbclient_scores_rescore import beside, write
from test_pbclient_scores_summary import episode

from pbclient.money.books import Books
from pbclient.progress import Progress
from pbclient.scheduler.evaluate import Recording
from pbclient.scores.rescore import rescore_run
from runs import Balance, RunBroken, RunFolder, identity

OWED = frozenset({"failed", "budget"})
# As the manifest says it: an empty ledger and no limit.

type Lives = list[list[dict[str, Any]]]

choices = st.builds(
    lambda dataset, sample, **more: episode(dataset, sample, **more),
    st.sampled_from(["ROD", "CIT"]),
    st.sampled_from("1234"),
    correct=st.booleans(),
    suggestions=st.integers(0, 3),
    repeat=st.integers(0, 1),
    outcome=st.sampled_from(["resolved", "resolved", "refused", "failed", "budget"]),
)


def live(path: Path, config: dict[str, Any], lines: list[dict[str, Any]]) -> dict[str, Any]:
    """One life of a run that plays those of `lines` that are not finished; the summary that it leaves."""
    manifest = {"id": "x", "config": config, "planned": {"ROD": 9}, "settings": {}}
    with RunFolder.start(path, manifest) as folder, Recording(folder, Progress()) as recording:
        finished = recording.resume(OWED, Books())
        for line in {identity(line): line for line in lines}.values():
            if identity(line) not in finished:
                recording.append(line)
        return recording.summarize(Balance(), None)


@settings(deadline=None)  # every life writes files
@given(st.lists(st.lists(choices, max_size=6), min_size=1, max_size=3))
def test_whatever_lives_a_run_had_its_summary_is_that_of_its_folder(
    tmp_path_factory: pytest.TempPathFactory, lives: Lives
) -> None:
    path = tmp_path_factory.mktemp("run") / "run"
    for lines in lives:
        summary = live(path, {"mode": "mcqa"}, lines)
        written = (path / "summary.json").read_bytes()
        assert rescore_run(path) == summary
        assert (path / "summary.json").read_bytes() == written


def test_verdicts_and_other_judges_are_in_it_too(tmp_path: Path) -> None:
    path = tmp_path / "run"
    config = {"mode": "oeg"}
    live(path, config, [judged(1, "0, 1"), judged(2, "what", "ever")])
    (path / "judges").mkdir()
    write(path / "judges" / "second.jsonl", [beside(judged(1, "1, 1")), beside(judged(3, "1, 0"))])
    summary = live(path, config, [judged(3, "1, 0"), unjudged(4, "refused")])
    assert summary["datasets"]["QD"]["n"] == 4
    assert summary["judges"]["second"]["n"] == 2
    assert rescore_run(path) == summary


@pytest.mark.parametrize("file", ["episodes.jsonl", "judges/second.jsonl"])
def test_a_damaged_line_is_named_before_anything_is_asked(tmp_path: Path, file: str) -> None:
    path = tmp_path / "run"
    live(path, {"mode": "oeg"}, [judged(1, "0, 1")])
    (path / "judges").mkdir()
    write(path / file, [{**judged(17, "0, 1"), "repeat": -1}])
    manifest = RunFolder.read(path).manifest
    with (
        RunFolder.start(path, manifest) as folder,
        Recording(folder, Progress()) as recording,
        pytest.raises(RunBroken, match=r"^Line 1 of \S+ is damaged \(repeat: expected"),
    ):
        recording.resume(OWED, Books())
