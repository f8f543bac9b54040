"""The numbers of a study: the paper's Table 1 and figures 3 to 11, from the run folders of its cells.

A cell is a model under a condition. Which condition that is, its run.json says; the name that the study gives
it does not matter. Each run is read once, a model's runs together.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from pbclient.benchmark import conditions
from pbclient.benchmark.conditions import OFFICIAL, UNFILTERED, ZERO_SHOT, Condition
from pbclient.benchmark.paper import paper
from pbclient.compare import against_paper, comparison
from pbclient.compare.filter import Shares, curve
from pbclient.compare.recorded import Recorded
from pbclient.compare.run_figures import RunFigures, read_figures
from pbclient.compare.study_contrasts import ActionTable, Contrast, ModelPair, action_table, contrast
from pbclient.compare.study_tables import ResultTable, result_table, shares_of
from pbclient.errors import InputError
from runs import NotARun, RunFolder

SCHEMA = 1
THRESHOLD = Fraction(1, 4)  # the paper's filter

METHOD = {
    **{name: said for name, said in comparison.METHOD.items() if name not in ("episodes", "tied", "p_holm")},
    "values": "each run's own figures, as in its summary.json",
    "differences": "paired, over the samples that both runs of a model resolved",
    "p_holm": "Holm over models and data sets, for each figure of a contrast; for averages over the models",
    "over_models": "each model weighs the same; the interval is the mean of theirs, which allows for models "
    "that go up and down together on the same samples; not tested",
    "paper": against_paper.METHOD,
}

# Figure of the paper -> without, with (the first that was played), and what is compared.
_CONTRASTS = (
    (3, ZERO_SHOT, (conditions.REFERENCE,), ("acc",)),
    (6, ZERO_SHOT, (conditions.HINT,), ("acc", "ps", "step_limit")),
    (6, conditions.OPEN, (conditions.OPEN_HINT,), ("acc", "ps", "agg")),
    (8, ZERO_SHOT, (conditions.HISTORY, conditions.HISTORY_FULL_SIZE), ("acc", "ps", "step_limit")),
)
_FEW_SHOT, _SHOTS = 9, re.compile(r"(cot-)?shots-\d+")
_ACTIONS = ((4, ZERO_SHOT), (5, conditions.RANDOM_OPTIONS), (7, conditions.HINT))
_TABLES = (ZERO_SHOT, conditions.REFERENCE, conditions.HINT, conditions.OPEN, conditions.OPEN_HINT)


@dataclass(frozen=True, slots=True)
class StudyCell:
    """A model under a condition, by the names that the study gives them, and its run folder."""

    model: str
    condition: str
    folder: Path

    def __str__(self) -> str:
        return f"{self.model}/{self.condition}"


@dataclass(frozen=True, slots=True)
class PlayedCell:
    """What a cell comes with: `played` is the condition as its run.json says it."""

    model: str
    condition: str
    played: str
    folder: Path
    episodes: int
    scored: int


@dataclass(frozen=True, slots=True)
class FilterCurve:
    """Samples kept and first-turn accuracy by threshold (figures 10 and 11), from zero-shot runs.

    Over the samples that all of `models` resolved; `filter` is what they were played under.
    """

    filter: str
    models: tuple[str, ...]
    entries: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class StudyFigures:
    """All that `study report` shows; `notes` are sentences on what is left out, and why."""

    source: str
    models: tuple[str, ...]
    cells: tuple[PlayedCell, ...]
    tables: tuple[ResultTable, ...]
    contrasts: tuple[Contrast, ...]
    actions: tuple[ActionTable, ...]
    curve: FilterCurve | None
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """As `study.json` has it: in stable order, shares in percent, null where a figure has no value."""
        return {"schema": SCHEMA, **_plain(self), "method": METHOD}


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return str(value) if isinstance(value, Path) else value


def study_figures(cells: Sequence[StudyCell]) -> StudyFigures:
    """Read the runs of these cells and make all tables and figures that they allow.

    A cell that was not played yet, or whose model was played under the same condition before, is left out and
    named. Raises `InputError` for a damaged line, `runs.RunError` for a damaged folder.
    """
    study = _Study()
    for model in dict.fromkeys(cell.model for cell in cells):
        study.add(model, [cell for cell in cells if cell.model == model])
    return study.figures()


class _Study:
    """What was read so far: scores of single episodes only as long as their model's pairs are made."""

    def __init__(self) -> None:
        self._cells: list[PlayedCell] = []
        self._notes: list[str] = []
        self._runs: dict[Condition, dict[str, RunFigures]] = {}
        self._pairs: dict[tuple[int, Condition, Condition], list[ModelPair]] = {}
        self._firsts: dict[str, dict[str, dict[tuple[str, str], Fraction]]] = {}  # filter -> model -> sample

    def add(self, model: str, cells: Sequence[StudyCell]) -> None:
        """Read all runs of a model and pair them."""
        own: dict[Condition, RunFigures] = {}
        for cell in cells:
            of = self._read(cell)
            if of is None:
                continue
            if of.condition in own:
                first = own[of.condition].run.label
                self._notes.append(f"{cell} is left out: its condition is that of {first} ({of.condition}).")
                continue
            own[of.condition] = of
        for condition, of in own.items():
            if condition.name == ZERO_SHOT:
                self._firsts.setdefault(condition.filter, {})[model] = _right_at_once(of)
        for number, before, after in _pairs_of(own):
            try:
                pair = ModelPair.of(model, own[before], own[after])
            except InputError as error:
                self._notes.append(str(error))
                continue
            lean = replace(pair, before=_lean(own[before]), after=_lean(own[after]))
            self._pairs.setdefault((number, before, after), []).append(lean)
        for condition, of in own.items():
            self._runs.setdefault(condition, {})[model] = _lean(of)

    def _read(self, cell: StudyCell) -> RunFigures | None:
        try:
            of = read_figures(Recorded(str(cell), RunFolder.read(cell.folder)))
        except NotARun:
            self._notes.append(f"{cell} was not played yet.")
            return None
        if not of.scores:
            self._notes.append(f"{cell} has no episode with a score yet.")
            return None
        played = str(of.condition)
        self._cells.append(
            PlayedCell(cell.model, cell.condition, played, cell.folder, of.episodes, len(of.scores))
        )
        return of

    def figures(self) -> StudyFigures:
        """Everything, in the order of the paper."""
        order = sorted(self._runs, key=_place)
        contrasts = []
        for key in sorted(self._pairs, key=lambda key: (key[0], *map(_place, key[1:]))):
            number, before, after = key
            of = next(iter(self._runs[after].values()))
            shares = (*shares_of(of), "step_limit")
            contrasts.append(
                contrast(number, before, after, _figures_of(number, before), shares, self._pairs[key])
            )
        actions = []
        for number, name in _ACTIONS:
            found = self._under(name)
            if found:
                without = {} if name == ZERO_SHOT else self._under(ZERO_SHOT)
                actions.append(action_table(number, name, found, without))
        return StudyFigures(
            source=paper().cited,
            models=tuple(dict.fromkeys(cell.model for cell in self._cells)),
            cells=tuple(self._cells),
            tables=tuple(result_table(condition, self._runs[condition]) for condition in order),
            contrasts=tuple(contrasts),
            actions=tuple(actions),
            curve=self._curve(),
            notes=tuple(self._notes),
        )

    def _under(self, name: str) -> dict[str, RunFigures]:
        """The run of each model under a condition; of several that on the benchmark's own samples."""
        found: dict[str, RunFigures] = {}
        for condition in sorted(self._runs, key=_place):
            for model, of in self._runs[condition].items() if condition.name == name else ():
                found.setdefault(model, of)
        return found

    def _curve(self) -> FilterCurve | None:
        """From runs on unfiltered samples where there are any."""
        if not self._firsts:
            return None
        name = UNFILTERED if UNFILTERED in self._firsts else next(iter(self._firsts))
        firsts = self._firsts[name]
        shared = set.intersection(*map(set, firsts.values()))
        shares: Shares = Counter(
            (sample[0], sum((first[sample] for first in firsts.values()), Fraction()) / len(firsts))
            for sample in shared
        )
        if name != UNFILTERED:
            self._notes.append(
                "The curve over thresholds is of samples that are filtered already: "
                "figures 10 and 11 need zero-shot runs with --filter none."
            )
        return FilterCurve(name, tuple(firsts), tuple(curve(shares, len(firsts), THRESHOLD)))


def _place(condition: Condition) -> tuple[Any, ...]:
    """The paper's tables first, filtered before unfiltered."""
    known = _TABLES.index(condition.name) if condition.name in _TABLES else len(_TABLES)
    return known, condition.name, condition.filter != OFFICIAL, condition.filter


def _pairs_of(own: Mapping[Condition, RunFigures]) -> list[tuple[int, Condition, Condition]]:
    """The contrasts that a model's runs allow: figure, without, with; both on the same samples."""
    by_name = {(condition.name, condition.filter): condition for condition in sorted(own, key=_place)}
    wanted = [(number, before, after) for number, before, after, _ in _CONTRASTS]
    shots = sorted({name for name, _ in by_name if _SHOTS.fullmatch(name)})
    wanted += [(_FEW_SHOT, ZERO_SHOT, (name,)) for name in shots]
    found = []
    for number, before, afters in wanted:
        both = [
            (by_name[before, kept], by_name[name, kept])
            for name in afters
            for named, kept in by_name
            if named == before and (name, kept) in by_name
        ]
        found += [(number, *pair) for pair in both[:1]]
    return found


def _figures_of(number: int, before: Condition) -> tuple[str, ...]:
    known = {(figure, name): figures for figure, name, _, figures in _CONTRASTS}
    return known.get((number, before.name), ("acc", "ps"))


def _right_at_once(of: RunFigures) -> dict[tuple[str, str], Fraction]:
    """Of each sample the share of its repeats that were right at the first turn."""
    repeats: dict[tuple[str, str], list[bool]] = {}
    for (dataset, sample, _), (correct, suggestions, *_) in of.scores.items():
        repeats.setdefault((dataset, sample), []).append(bool(correct) and suggestions == 0)
    return {sample: Fraction(sum(right), len(right)) for sample, right in repeats.items()}


def _lean(of: RunFigures) -> RunFigures:
    return replace(of, scores={})
