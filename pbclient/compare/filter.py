"""`pbclient filter`: the paper's filter. Samples that many models get right at once ask for no help.

A sample is dropped when the share of runs that answered it correctly at the first turn, without a
suggestion, is the threshold or more (the paper: 25 %). Each run weighs the same:

- a run that repeats a sample counts by the share of its resolved repeats;
- a run that did not resolve it (refused, truncated, failed, stopped) has no say in it;
- a sample that no run resolved was shown to be easy by none, and stays;
- a sample that some run has no episode of at all is an error: that run is not finished, or was
  played on other samples, and its share would be of other models than the rest.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any

from pbclient.benchmark.package import MCQA, STEMS
from pbclient.benchmark.paper import paper
from pbclient.compare.recorded import Recorded, config_differences, in_order, other_data, read_runs
from pbclient.data.filters import FORMAT, SCHEMA, digest
from pbclient.errors import InputError
from runs import replace_file

RULE = (
    "dropped: answered correctly at the first turn in at least the threshold's share of the runs that "
    "resolved the sample (repeats by their share); kept: all others, and those that no run resolved"
)

type Filtered = dict[str, Any]
type Shares = Counter[tuple[str, Fraction | None]]  # samples by data set and share; None: resolved in no run
type _Sample = tuple[str, str]
# Of a run: sample -> (repeats that were right at once, repeats that were resolved).
type _First = dict[_Sample, tuple[int, int]]


def read_threshold(text: str) -> Fraction:
    """A number of percent, as a share. Raises `InputError`."""
    try:
        # By way of a float, whose exponent is bounded; its shortest form is what was written.
        share = Fraction(repr(float(text.strip().removesuffix("%").strip()))) / 100
    except ValueError:
        raise InputError(f"--threshold must be a number of percent such as 25, not {text!r}.") from None
    if not 0 < share <= 1:
        raise InputError(f"--threshold must be above 0 and at most 100 percent, not {text!r}.")
    return share


def make_filter(paths: Sequence[Path], threshold: Fraction, *, force: bool = False) -> Filtered:
    """What a file for `run --filter FILE` holds: the kept ids, how they came about, before and after.

    The same runs give the same object. Raises `InputError` or `runs.RunError`.
    """
    if not paths:
        raise InputError("A filter needs runs of one or more models: name their folders.")
    runs = read_runs(paths)
    for run in runs:
        if run.mode != MCQA:
            raise InputError(
                f"{run.path} is a run of --mode {run.mode}: the filter is made of multiple choice."
            )
        if run.config.get("reference"):
            raise InputError(
                f"{run.path} was played with --reference, whose first turn shows all there is to see: "
                "leave it out."
            )
    firsts = [_first_turns(run) for run in runs]
    samples = _samples(runs, firsts)
    names = [name for name in STEMS if any(name == dataset for dataset, _ in samples)]
    different = other_data(runs, names, force=force)
    judged = []
    for sample in samples:
        counts = [first[sample] for first in firsts]
        shares = [Fraction(right, resolved) for right, resolved in counts if resolved]
        judged.append(_Judged(sample, len(shares), _mean(shares)))
    kept = [of for of in judged if _stays(of.share, threshold)]
    if not kept:
        raise InputError("This filter keeps no sample at all: raise --threshold.")
    ids = _ids(kept)
    return {
        FORMAT: SCHEMA,
        "ids": ids,
        "digest": digest(ids),
        "made": {
            "rule": RULE,
            "threshold_percent": float(100 * threshold),
            "runs": [
                {
                    "id": run.folder.manifest["id"],
                    "provider": run.config.get("provider"),
                    "model": run.config.get("model"),
                    "benchmark": run.config.get("benchmark"),
                    "filter": run.config.get("filter") or "official",
                    "data": run.data.get("digest"),
                }
                for run in runs
            ],
            "differences": config_differences(runs),
            "other_data": different,
            "partly_resolved": sum(0 < sample.runs < len(runs) for sample in judged),
            "resolved_by_none": _ids(sample for sample in judged if not sample.runs),
        },
        "table": {"before": _table(_shares(judged)), "after": _table(_shares(kept)), "paper": _published()},
        "curve": curve(_shares(judged), len(runs), threshold),
    }


def curve(shares: Shares, models: int, threshold: Fraction | None = None) -> list[dict[str, Any]]:
    """Samples kept and their first-turn accuracy, by threshold: one of the models, two, ..., none dropped.

    `shares` counts samples by (data set, share of the models that were right at once). Each entry has
    `threshold_percent` (null where nothing is dropped), `models` (how many are as much or more),
    and what `table` has before and after. A `threshold` of another share is among them.
    """
    steps = {Fraction(count, models) for count in range(1, models + 1)} | (
        {threshold} if threshold else set()
    )
    entries: list[dict[str, Any]] = []
    for step in [*sorted(steps), None]:
        kept = shares if step is None else _kept(shares, step)
        entries.append(
            {
                "threshold_percent": None if step is None else round(float(100 * step), 6),
                "models": None if step is None else ceil(step * models),
                **_table(kept),
            }
        )
    return entries


def _kept(shares: Shares, threshold: Fraction) -> Shares:
    return Counter({of: count for of, count in shares.items() if _stays(of[1], threshold)})


def _stays(share: Fraction | None, threshold: Fraction) -> bool:
    return share is None or share < threshold


def _published() -> dict[str, dict[str, int]]:
    """The paper's counts of samples before and after its filter, by data set and in total."""
    by_kind = {"before": paper().samples["unfiltered"], "after": paper().samples["filtered"]}
    return {kind: {**counts, "total": sum(counts.values())} for kind, counts in by_kind.items()}


def dump(made: Filtered) -> bytes:
    """The bytes of the file: a line for each data set's ids, so that two lists can be compared by eye."""
    ids = ",\n".join(
        f"    {json.dumps(name)}: {json.dumps(numbers)}" for name, numbers in made["ids"].items()
    )
    rest = json.dumps({name: made[name] for name in ("digest", "made", "table", "curve")}, indent=2)
    head = f"{json.dumps(FORMAT)}: {made[FORMAT]}"
    return f'{{\n  {head},\n  "ids": {{\n{ids}\n  }},{rest[1:]}\n'.encode("ascii")


def write(path: Path, made: Filtered) -> None:
    """Write the file; one that says something else is not replaced. Raises `InputError` or `OSError`."""
    content = dump(made)
    if path.exists() and (not path.is_file() or path.read_bytes() != content):
        raise InputError(f"{path} is there already: name another file with --out, or remove it.")
    replace_file(path, [content])


@dataclass(frozen=True, slots=True)
class _Judged:
    """A sample, how many runs resolved it, and their mean share of answers that were right at once."""

    sample: _Sample
    runs: int
    share: Fraction | None


def _first_turns(run: Recorded) -> _First:
    first: _First = {}
    for episode in run.episodes():
        sample = episode["dataset"], episode["sample"]
        right, resolved = first.get(sample, (0, 0))
        if episode["outcome"] == "resolved":
            right += episode["correct"] and episode["suggestions"] == 0
            resolved += 1
        first[sample] = right, resolved
    return first


def _samples(runs: Sequence[Recorded], firsts: Sequence[_First]) -> list[_Sample]:
    """All samples, which every run has to have an episode of."""
    every = sorted(set[_Sample]().union(*firsts), key=in_order)
    for run, first in zip(runs, firsts, strict=True):
        missing = [sample for sample in every if sample not in first]
        if missing:
            few = ", ".join(" ".join(sample) for sample in missing[:3])
            raise InputError(
                f"{run.path} has no episode of {len(missing)} of the {len(every)} samples "
                f"({few}{', ...' if len(missing) > 3 else ''}): finish it on the same samples as the others, "
                "or leave it out."
            )
    for sample in sorted(every):
        if not sample[1].removeprefix("-").isdecimal():
            raise InputError(f"{' '.join(sample)} is no id of a sample: a line in episodes.jsonl is damaged.")
    if not every:
        raise InputError("These runs have no episode yet: finish them first.")
    return every


def _ids(judged: Iterable[_Judged]) -> dict[str, list[int]]:
    ids: dict[str, list[int]] = {}
    for dataset, sample in (of.sample for of in judged):
        ids.setdefault(dataset, []).append(int(sample))
    return {name: sorted(ids[name]) for name in STEMS if name in ids}


def _shares(judged: Iterable[_Judged]) -> Shares:
    return Counter((of.sample[0], of.share) for of in judged)


def _table(shares: Shares) -> dict[str, Any]:
    """Samples and mean first-turn accuracy in percent, of each data set and of all samples together."""
    by_name: dict[str, Shares] = {name: Counter() for name in STEMS}
    for of, count in shares.items():
        by_name[of[0]][of] = count
    datasets = {name: _row(own) for name, own in by_name.items() if own}
    return {"datasets": datasets, "total": _row(shares)}


def _row(shares: Shares) -> dict[str, Any]:
    known = {of: count for of, count in shares.items() if of[1] is not None}
    total = sum(((of[1] or 0) * count for of, count in known.items()), Fraction())
    mean = total / sum(known.values()) if known else None
    accuracy = None if mean is None else round(float(100 * mean), 6)
    return {"samples": shares.total(), "first_turn_acc": accuracy}


def _mean(shares: Sequence[Fraction]) -> Fraction | None:
    return sum(shares, Fraction()) / len(shares) if shares else None
