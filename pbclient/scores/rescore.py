"""`pbclient score`: the summary again from what a run folder holds. No call, no cache, no images.

With `--reward` the paper's post-training reward over the turns of a recorded run.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pbclient.benchmark.open_ended import VERDICT_FIGURES, over_turns, read_verdict
from pbclient.benchmark.package import MCQA, OEG
from pbclient.benchmark.protocol import PAPER
from pbclient.errors import InputError
from pbclient.record import turn_verdicts
from pbclient.reward import RIGHT_CATEGORY, VALID_SUGGESTION
from pbclient.scores import mcqa, oeg
from pbclient.scores.checks import DATASETS, check, check_turn_verdict, check_verdict_line, name
from pbclient.scores.figures import Named, average, entries
from pbclient.scores.intervals import bootstrap_mean, bootstrap_ratio
from pbclient.scores.summary import Summary, dump, mode_of, summarize
from pbclient.scores.trajectory import trajectory_of
from runs import Balance, Episode, Episodes, RunFolder, replace_file

# Rewards are counted in quarters, so that their sums are exact.
_QUARTERS = 4
_FIGURES = ("per_turn", "per_episode")
_RIGHT, _VALID = int(_QUARTERS * RIGHT_CATEGORY), int(_QUARTERS * VALID_SUGGESTION)


def rescore_run(path: Path) -> Summary:
    """Score the run at `path` from its recorded evaluations and write its summary.json again.

    In a folder that may only be read it is but returned. Raises `runs.RunError` when there is no run,
    `PbclientError` when an episode contradicts its own turns.
    """
    folder = RunFolder.read(path)
    summary = summarize(
        folder.manifest,
        checked_episodes(folder),
        Balance.read(folder.ledger),
        judge_lines(folder.path),
        limit=folder.manifest["settings"].get("max_cost"),
    )
    if os.access(path, os.W_OK, effective_ids=True):
        replace_file(folder.summary, [dump(summary)])
    return summary


def checked_episodes(folder: RunFolder) -> Iterator[Episode]:
    """The episodes of a run, each held against its own turns."""
    mode = mode_of(folder.manifest)
    for episode in Episodes(folder.episodes).read():
        yield rescore(episode, mode)


def judge_lines(path: Path) -> dict[str, Iterator[Episode]]:
    """The lines of the run's other judges by the names of their files, each held against its own turns."""
    return {file.stem: checked_verdicts(file) for file in sorted((path / "judges").glob("*.jsonl"))}


def checked_verdicts(file: Path) -> Iterator[Episode]:
    """The lines of one judge beside the run's own, each held against its own turns."""
    for line in Episodes(file).read():
        check_verdict_line(line)
        _rescore_verdict(line)
        yield line


def rescore(episode: Episode, mode: str = MCQA) -> Episode:
    """The episode, when what is recorded of its turns gives its recorded score.

    Multiple choice: a suggestion goes on, anything else ends the episode; it is correct when its
    last turn names the right category. Open-ended: the recorded answers of the judge, read again
    by the package's parser, give the verdict. Raises `InputError` naming the episode otherwise.
    """
    check(episode, (oeg if mode == OEG else mcqa).CHECKS)
    if mode == OEG:
        _rescore_verdict(episode)
        verdict: Mapping[str, Any] = episode.get("verdict") or dict.fromkeys(VERDICT_FIGURES)
        category, suggestions = verdict["category_prediction"], verdict["proactive_suggestion"]
        source, correct = "its verdict", None if category is None else category == 1
        if "each" in verdict and episode["outcome"] == "resolved":
            suggestions = _suggestions_over_turns(episode, verdict["each"])
    elif episode["outcome"] == "resolved":
        trajectory = trajectory_of(episode)
        source, correct, suggestions = "its turns", trajectory.right, trajectory.suggestions
    if episode["outcome"] == "resolved":
        _must_be(episode, source, {"correct": correct, "suggestions": suggestions}, episode)
    return episode


def _rescore_verdict(line: Episode) -> None:
    verdict = line.get("verdict")
    if verdict is None:
        return
    if "each" in verdict:
        for each in verdict["each"]:
            check_turn_verdict(line, each)
        for each in turn_verdicts(verdict):
            _rescore_verdict({**line, "verdict": each})
        resolved = line["outcome"] == "resolved"
        whole, whole_official = over_turns(verdict["each"], resolved=resolved)
        _must_be(line, "the verdicts on its turns", whole, verdict)
        _must_be(line, "the first verdicts on its turns", whole_official, verdict["official"])
        return
    first = final = None
    for turn in verdict["turns"]:
        answer = turn["answer"] if isinstance(turn.get("answer"), str) else ""
        figures, parsed = read_verdict(verdict["valid"][1], answer, line["dataset"])
        first = first or figures
        # The paper's protocol takes the first answer for what the package makes of it.
        scored = (parsed and turn.get("finish") == "stop") or verdict.get("protocol") == PAPER
        if final is None and scored:
            final = figures
    _must_be(line, "its judge's answers", final or dict.fromkeys(VERDICT_FIGURES), verdict)
    # The package asks once, and counts what it cannot read as zeros.
    official = first or dict.fromkeys(VERDICT_FIGURES, 0)
    _must_be(line, "its judge's first answer, as the package reads it,", official, verdict["official"])


def _suggestions_over_turns(episode: Episode, each: list[Any]) -> int:
    """How many suggestions the environment carried out, by the verdicts on its turns and its own words."""
    words = [
        (turn.get("action") == "correct", turn.get("category") == "correct") for turn in episode["turns"]
    ]
    found = [
        (carried and one["proactive_suggestion"] == 1, one["category_prediction"] == 1)
        for one, (carried, _) in zip(each, words, strict=False)
    ]
    ends = [right or not carried for carried, right in words[:-1]]
    if words != found or any(ends):
        raise InputError(f"{name(episode)} has turns that the verdicts on them did not lead to.")
    return len(words) - 1


def _must_be(line: Episode, source: str, computed: Mapping[str, Any], recorded: Mapping[str, Any]) -> None:
    """Raises `InputError` naming the first field whose recorded value is not the one computed again."""
    for key, value in computed.items():
        if recorded.get(key) != value:
            raise InputError(
                f"{name(line)} is recorded with {key} {recorded.get(key)}, but {source} gave {value}."
            )


def recorded_rewards(path: Path) -> Summary:
    """The rewards of the run at `path`: by data set and averaged over them, with 95 % intervals.

    Only resolved episodes count. An episode is what is drawn again for the intervals, with all its
    turns. Raises `InputError` for an open-ended run, whose answers have no turns, and whatever
    `rescore_run` raises.
    """
    folder = RunFolder.read(path)
    if mode_of(folder.manifest) == OEG:
        raise InputError(f"{path} is an open-ended run: the reward is defined on turns of multiple choice.")
    random_options = folder.manifest["config"].get("options") == "random"
    tallies = {dataset: mcqa.Tally(dataset, random_options) for dataset in DATASETS}
    for episode in checked_episodes(folder):
        tallies[episode["dataset"]].add(episode)
    tallies = {name: tally for name, tally in tallies.items() if tally.trajectories}
    figures = {name: _figures(tally) for name, tally in tallies.items()}
    return {
        "datasets": {
            name: {
                "episodes": tally.trajectories.total(),
                "turns": sum(of.turns * times for (_, of), times in tally.trajectories.items()),
                **entries(figures[name]),
            }
            for name, tally in tallies.items()
        },
        "average": {
            **entries({key: average(of[key] for of in figures.values()) for key in _FIGURES}),
            "over": list(tallies),
        },
    }


def _figures(tally: mcqa.Tally) -> Named:
    """The mean over the turns of a data set, and the mean over its episodes of their sums."""
    pairs: Counter[tuple[int, int]] = Counter()  # quarters and turns of an episode
    sums: Counter[int] = Counter()
    for (_, trajectory), times in tally.trajectories.items():
        quarters = _RIGHT * trajectory.right + _VALID * trajectory.accepted
        if trajectory.turns:
            pairs[quarters, trajectory.turns] += times
        sums[quarters] += times
    turns = sum(turns * times for (_, turns), times in pairs.items())
    total, samples = sum(quarters * times for quarters, times in sums.items()), int(tally.samples())
    ratio = bootstrap_ratio(pairs, seed=tally.dataset, size=samples)
    per_turn = total / turns if turns else 0.0, ratio
    per_episode = total / pairs.total(), bootstrap_mean(sums, seed=tally.dataset, size=samples)
    return {
        name: None if of is None else (value / _QUARTERS, (of[0] / _QUARTERS, of[1] / _QUARTERS))
        for name, (value, of) in zip(_FIGURES, (per_turn, per_episode), strict=True)
    }
