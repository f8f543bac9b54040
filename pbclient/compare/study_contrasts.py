"""The figures of a study that set one condition beside another, and what the models did in their turns.

Values are those of each run; differences are paired, over the samples that both runs of a model resolved.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from pbclient.benchmark.conditions import Condition
from pbclient.benchmark.package import MCQA, STEMS
from pbclient.benchmark.paper import AVERAGE, Table, paper
from pbclient.compare.comparison import CHOICE, OPEN, adjust, paired
from pbclient.compare.recorded import CommonEpisodes, other_data
from pbclient.compare.run_figures import RunFigures
from pbclient.compare.study_tables import OVER_MODELS, Value
from pbclient.scores.figures import average, rounded
from pbclient.scores.intervals import Interval

ACTIONS = ("proactive", "abstain", "category", "mismatch")  # all turns, as in a summary


@dataclass(frozen=True, slots=True)
class ContrastRow:
    """One figure of a model in one data set (or averaged), before and after.

    `difference` has its interval, p and Holm's p where a test was made, `samples` is over how many;
    `paper_before` and `paper_after` are published. Averaged over models nothing is tested.
    """

    model: str
    figure: str
    dataset: str
    before: Value
    after: Value
    difference: float | None
    ci: Interval | None
    p: float | None
    p_holm: float | None
    samples: int | None
    paper_before: float | None
    paper_after: float | None


@dataclass(frozen=True, slots=True)
class Contrast:
    """One condition against another: a figure of the paper, or one of its panels."""

    number: int
    before: str
    after: str
    filter: str
    shares: tuple[str, ...]
    models: tuple[str, ...]
    rows: tuple[ContrastRow, ...]
    averages: tuple[ContrastRow, ...]

    @property
    def title(self) -> str:
        """What is compared."""
        return f"{self.after} against {self.before}"


@dataclass(frozen=True, slots=True)
class ModelPair:
    """Both runs of a model, and the paired differences of each figure, as `compare` has them."""

    model: str
    before: RunFigures
    after: RunFigures
    differences: Mapping[str, Mapping[str, dict[str, Any]]]
    samples: Mapping[str, int]

    @classmethod
    def of(cls, model: str, before: RunFigures, after: RunFigures) -> ModelPair:
        """Pair what both resolved; nothing where they share nothing. Raises `InputError` for other data."""
        shared = sorted(before.scores.keys() & after.scores.keys())
        common = CommonEpisodes([before.run, after.run], shared, [before.scores, after.scores], [0, 0])
        samples = common.by_sample()
        other_data(common.runs, list(samples), force=False)
        differences: dict[str, dict[str, dict[str, Any]]] = {}
        if samples:
            for metric in CHOICE if before.run.mode == MCQA else OPEN:
                pair = paired(metric, samples, (0, 1))
                differences[metric.name] = {**pair["datasets"], AVERAGE: pair["average"]}
        counts = {name: len(of) for name, of in samples.items()}
        return cls(model, before, after, differences, {**counts, AVERAGE: sum(counts.values())})

    @property
    def datasets(self) -> list[str]:
        """Those that both have figures of."""
        entries = (self.before.entries, self.after.entries)
        return [name for name in STEMS if all(name in of and of[name]["acc"] is not None for of in entries)]


def contrast(
    number: int,
    before: Condition,
    after: Condition,
    figures: Sequence[str],
    shares: Sequence[str],
    pairs: Sequence[ModelPair],
) -> Contrast:
    """Figure `number`, from the pairs of all models; Holm goes over data sets, and over averages."""
    for figure in figures:
        tested = [pair.differences.get(figure, {}) for pair in pairs]
        adjust([entry for of in tested for name, entry in of.items() if name != AVERAGE])
        adjust([of[AVERAGE] for of in tested if AVERAGE in of])
    published = _Published(before, after)
    rows = [row for pair in pairs for figure in figures for row in _rows(pair, figure, published)]
    columns = [name for name in (*STEMS, AVERAGE) if any(row.dataset == name for row in rows)]
    averages = [
        _over_models([row for row in rows if (row.figure, row.dataset) == (figure, name)], published)
        for figure in figures
        for name in columns
    ]
    names = tuple(pair.model for pair in pairs)
    return Contrast(
        number,
        before.name,
        after.name,
        after.filter,
        tuple(of for of in figures if of in shares),
        names,
        tuple(rows),
        tuple(averages),
    )


def _rows(pair: ModelPair, figure: str, published: _Published) -> Iterator[ContrastRow]:
    datasets = pair.datasets
    for name in [*datasets, AVERAGE] if datasets else []:
        before, after = (
            _averaged(of, figure, datasets) if name == AVERAGE else Value.of(of.entries[name], figure)
            for of in (pair.before, pair.after)
        )
        entry = pair.differences.get(figure, {}).get(name, {})
        difference = entry.get("difference")
        if difference is None and before.value is not None and after.value is not None:
            difference = rounded(after.value - before.value) + 0.0
        ci = entry.get("ci")
        yield ContrastRow(
            model=pair.model,
            figure=figure,
            dataset=name,
            before=before,
            after=after,
            difference=difference,
            ci=None if ci is None else (ci[0], ci[1]),
            p=entry.get("p"),
            p_holm=entry.get("p_holm"),
            samples=pair.samples.get(name) if entry else None,
            paper_before=published.of_model(0, pair, figure, name),
            paper_after=published.of_model(1, pair, figure, name),
        )


def _averaged(of: RunFigures, figure: str, datasets: Sequence[str]) -> Value:
    """A run's figure averaged over these data sets: over those that both runs have."""
    values = [Value.of(of.entries[name], figure) for name in datasets]
    found = average(
        (each.value, each.ci) for each in values if each.value is not None and each.ci is not None
    )
    return (
        Value(None, None)
        if found is None
        else Value(rounded(found[0]), (rounded(found[1][0]), rounded(found[1][1])))
    )


def _over_models(rows: Sequence[ContrastRow], published: _Published) -> ContrastRow:
    """The mean over models of one figure in one data set."""
    figure, dataset = rows[0].figure, rows[0].dataset
    known = [Value(row.difference, row.ci) for row in rows]
    difference = Value.averaged(known)
    return ContrastRow(
        model=OVER_MODELS,
        figure=figure,
        dataset=dataset,
        before=Value.averaged([row.before for row in rows]),
        after=Value.averaged([row.after for row in rows]),
        difference=difference.value,
        ci=difference.ci,
        p=None,
        p_holm=None,
        samples=None,
        paper_before=published.averaged(0, figure, dataset),
        paper_after=published.averaged(1, figure, dataset),
    )


class _Published:
    """What the paper gives of two conditions: from its tables, and where these are silent from its plots."""

    def __init__(self, before: Condition, after: Condition) -> None:
        self._tables = [paper().table(before), paper().table(after)]
        self._plot = paper().plots.get(after.name, {}) if before.filter == after.filter == "official" else {}

    def of_model(self, which: int, pair: ModelPair, figure: str, dataset: str) -> float | None:
        table, of = self._tables[which], (pair.before, pair.after)[which]
        if table is None or figure not in table.figures or of.found.row is None:
            return None
        # The published average is over all seven.
        return (
            of.found.row[figure][dataset] if dataset != AVERAGE or len(pair.datasets) == len(STEMS) else None
        )

    def averaged(self, which: int, figure: str, dataset: str) -> float | None:
        """Over the paper's models, those of both tables."""
        if figure == "step_limit":
            return self._plot.get("step_limit_after") if which and dataset == AVERAGE else None
        before, after = self._tables
        if before is None or after is None or not _have(figure, before, after):
            pair = self._plot.get(figure, {}).get(dataset)
            return None if pair is None else pair[which]
        both = [name for name in before.rows if name in after.rows]
        return rounded(fmean((before, after)[which].rows[name][figure][dataset] for name in both))


def _have(figure: str, *tables: Table) -> bool:
    return all(figure in table.figures for table in tables)


@dataclass(frozen=True, slots=True)
class ActionRow:
    """Shares of turns in percent, by action; `change` is how much the share of suggestions differs, in
    percent of what it is without the condition, and `paper_change` the published one."""

    model: str
    dataset: str
    actions: Mapping[str, Value]
    change: float | None = None
    paper_change: float | None = None


@dataclass(frozen=True, slots=True)
class ActionTable:
    """What the models did in their turns under one condition."""

    number: int
    condition: str
    rows: tuple[ActionRow, ...]
    averages: tuple[ActionRow, ...]


def action_table(
    number: int, condition: str, played: Mapping[str, RunFigures], without: Mapping[str, RunFigures]
) -> ActionTable:
    """Figure `number`, from the run of each model; `without` are their runs without the condition."""
    changes = paper().plots.get(condition, {}).get("relative_change", {})
    rows: list[ActionRow] = []
    for model, of in played.items():
        for name, entry in of.entries.items():
            actions = {action: Value.of(entry["actions"], action) for action in ACTIONS}
            plain = without[model].entries.get(name) if model in without else None
            change = (
                None
                if plain is None
                else _relative(plain["actions"]["proactive"], actions["proactive"].value)
            )
            published = changes.get(of.found.model) if name == AVERAGE else None
            if actions["proactive"].value is not None:
                rows.append(ActionRow(model, name, actions, change, published))
    averages = []
    for name in (*STEMS, AVERAGE):
        own = [row.actions for row in rows if row.dataset == name]
        if own:
            over = {action: Value.averaged([of[action] for of in own]) for action in ACTIONS}
            averages.append(ActionRow(OVER_MODELS, name, over))
    return ActionTable(number, condition, tuple(rows), tuple(averages))


def _relative(before: float | None, after: float | None) -> float | None:
    return None if not before or after is None else rounded(100 * (after - before) / before) + 0.0
