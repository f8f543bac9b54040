"""A study's tables and figures equal what a reader of the episode files computes by other means."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from recorded_run import OPTIONS, Line, answer, played, record, unresolved
from scipy.stats import binomtest
from statsmodels.stats.multitest import multipletests

from pbclient.benchmark.package import STEMS
from pbclient.benchmark.paper import paper
from pbclient.compare.comparison import compare
from pbclient.compare.recorded import read_runs
from pbclient.compare.run_figures import read_figures
from pbclient.compare.study import StudyCell, StudyFigures, study_figures
from pbclient.compare.study_contrasts import Contrast, ContrastRow

MODELS = {"qwen": "Qwen/Qwen2.5-VL-7B-Instruct", "gpt": "openai/gpt-4.1", "mine": "my/tuned"}
# By names that say nothing: the condition is what run.json says.
CONDITIONS: dict[str, Line] = {
    "a": {"filter": None},
    "b": {"reference": True},
    "c": {"hint": True},
    "d": {"options": "random"},
    "e": {"history": True, "resize": True},
    "f": {"shots": 1},
    "g": {"shots": 3},
    "h": {"mode": "oeg"},
    "i": {"mode": "oeg", "hint": True},
}
NAMES = ("ROD", "MVP-N", "IN-C")


def lines(rng: random.Random, asked: Line) -> Iterator[Line]:
    for name in ("ROD", "MVP-N") if "shots" in asked else NAMES:
        for sample in range(12):
            if rng.random() < 0.1:
                yield unresolved(name, sample)
            elif asked.get("mode") == "oeg":
                yield answer(name, sample, rng.random() < 0.3, int(rng.random() < 0.4))
            else:
                before = "" if asked.get("reference") else "s" * rng.choice((0, 0, 1, 3))
                yield played(name, sample, before + rng.choice("rrwamxs"))


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> list[StudyCell]:
    folder = tmp_path_factory.mktemp("study")
    made = []
    for model, name in MODELS.items():
        for condition, asked in CONDITIONS.items():
            (folder / model).mkdir(exist_ok=True)
            path = folder / model / condition
            # Strings seed alike in every process.
            record(path, lines(random.Random(f"{model} {condition}"), asked), **{"model": name, **asked})
            made.append(StudyCell(model, condition, path))
    return made


@pytest.fixture(scope="module")
def found(cells: list[StudyCell]) -> StudyFigures:
    return study_figures(cells)


class Read:
    """Figures by plain counting over episodes.jsonl."""

    def __init__(self, path: Path) -> None:
        every = [json.loads(line) for line in (path / "episodes.jsonl").read_text().splitlines()]
        self.lines = [line for line in every if line["outcome"] == "resolved"]

    def of(self, figure: str, dataset: str, over: Iterator[str] | tuple[str, ...] | None = None) -> float:
        if dataset == "average":
            return fmean(self.of(figure, name) for name in over or self.datasets)
        return fmean(float(self.value(line, figure)) for line in self.lines if line["dataset"] == dataset)

    @property
    def datasets(self) -> tuple[str, ...]:
        return tuple(name for name in STEMS if any(line["dataset"] == name for line in self.lines))

    @staticmethod
    def value(line: Any, figure: str) -> float:
        if "verdict" in line:
            verdict = line["verdict"]
            keys = {"acc": "category_prediction", "ps": "proactive_suggestion", "agg": "aggregate"}
            return 100 * int(verdict[keys[figure]])
        if figure == "acc":
            return 100 * int(line["correct"])
        if figure == "ps":
            return int(line["suggestions"])
        last = line["turns"][
            -1
        ]  # it was still suggesting, and what it asked for is taken in other data sets too
        refused = last["answer"] == OPTIONS[0] and last["action"] == "wrong"
        asked_before = any(turn["answer"] == last["answer"] for turn in line["turns"][:-1])
        limited = last["action"] == "correct" or (refused and (line["dataset"] != "IN-C" or asked_before))
        return 100 * int(limited)

    def actions(self, dataset: str) -> dict[str, float]:
        if dataset == "average":
            each = [self.actions(name) for name in self.datasets]
            return {action: fmean(of[action] for of in each) for action in each[0]}
        kinds = {OPTIONS[0]: "proactive", OPTIONS[1]: "abstain", "a cat": "category", "a dog": "category"}
        turns = [turn for line in self.lines if line["dataset"] == dataset for turn in line["turns"]]
        counts = Counter(kinds.get(turn["answer"], "mismatch") for turn in turns)
        return {
            action: 100 * counts[action] / len(turns)
            for action in ("proactive", "abstain", "category", "mismatch")
        }

    def scored(self, figure: str) -> dict[tuple[str, str], float]:
        return {(line["dataset"], line["sample"]): self.value(line, figure) for line in self.lines}


@pytest.fixture(scope="module")
def read(cells: list[StudyCell]) -> dict[tuple[str, str], Read]:
    return {(cell.model, cell.condition): Read(cell.folder) for cell in cells}


def letter_of(played: str) -> str:
    order = ("zero-shot", "reference", "hint", "random-options", "history-resize", "shots-1", "shots-3")
    return "abcdefghi"[(*order, "oeg", "oeg-hint").index(played)]


def test_the_tables(found: StudyFigures, read: dict[tuple[str, str], Read]) -> None:
    assert [(table.condition, table.number) for table in found.tables[:5]] == [
        ("zero-shot", 1),
        ("reference", 6),
        ("hint", 7),
        ("oeg", 2),
        ("oeg-hint", 9),
    ]
    assert [table.number for table in found.tables[5:]] == [None] * 4
    for table in found.tables:
        own = {model: read[model, letter_of(table.condition)] for model in MODELS}
        assert [row.model for row in table.rows] == list(MODELS)
        for row in table.rows:
            for figure, by_name in row.figures.items():
                for name, cell in by_name.items():
                    assert cell.value == pytest.approx(own[row.model].of(figure, name), abs=1e-6)
                    if cell.paper is not None:
                        published = paper().tables[
                            table.condition, "open_ended" if "oeg" in table.condition else "filtered"
                        ]
                        assert cell.paper.published == published.rows[row.paper_model or ""][figure][name]
                        assert cell.paper.difference == pytest.approx(
                            cell.value - cell.paper.published, abs=1e-6
                        )
                        assert cell.differs is (cell.paper.p_holm is not None and cell.paper.p_holm < 0.05)
        for figure, by_name in table.average.figures.items():
            for name, cell in by_name.items():
                assert cell.value == pytest.approx(
                    fmean(of.of(figure, name) for of in own.values()), abs=1e-5
                )
                limits = [row.figures[figure][name].ci for row in table.rows]
                assert cell.ci == pytest.approx([fmean(side) for side in zip(*limits, strict=True)], abs=1e-5)


def test_each_runs_figures_are_those_of_its_summary(cells: list[StudyCell], found: StudyFigures) -> None:
    table = found.tables[0]
    for row in table.rows:
        (cell,) = [cell for cell in cells if (cell.model, cell.condition) == (row.model, "a")]
        (run,) = read_runs([cell.folder])
        entries = read_figures(run).entries
        for name in table.columns:
            assert row.figures["acc"][name].ci == tuple(entries[name]["acc_ci"])


def test_who_has_a_row_in_the_paper(found: StudyFigures) -> None:
    rows = {(table.condition, row.model): row for table in found.tables for row in table.rows}
    assert rows["zero-shot", "qwen"].note is None
    assert rows["zero-shot", "mine"].note == "my/tuned is no name of a model in the paper's tables."
    assert (
        rows["oeg", "gpt"].note
        == "The paper's Table 2 (open-ended, one turn, filtered) has no row for GPT-4.1."
    )
    assert rows["shots-1", "qwen"].note == "The paper has no table for this condition (shots-1)."
    # The average stands beside the paper's only where that is over the same models.
    assert found.tables[0].average.figures["acc"]["ROD"].paper is None


CONTRASTS = [
    (3, "zero-shot", "reference", ("acc",)),
    (6, "zero-shot", "hint", ("acc", "ps", "step_limit")),
    (6, "oeg", "oeg-hint", ("acc", "ps", "agg")),
    (8, "zero-shot", "history-resize", ("acc", "ps", "step_limit")),
    (9, "zero-shot", "shots-1", ("acc", "ps")),
    (9, "zero-shot", "shots-3", ("acc", "ps")),
]


def test_the_contrasts_are_those_of_figures_3_6_8_and_9(found: StudyFigures) -> None:
    made = [
        (of.number, of.before, of.after, tuple(dict.fromkeys(row.figure for row in of.rows)))
        for of in found.contrasts
    ]
    assert made == CONTRASTS


def of_figure(contrast: Contrast, figure: str) -> list[ContrastRow]:
    return [row for row in contrast.rows if row.figure == figure]


@pytest.mark.parametrize("number", range(len(CONTRASTS)))
def test_a_contrast(found: StudyFigures, read: dict[tuple[str, str], Read], number: int) -> None:
    contrast = found.contrasts[number]
    letters = letter_of(contrast.before), letter_of(contrast.after)
    for row in contrast.rows:
        before, after = (read[row.model, letter] for letter in letters)
        over = after.datasets
        assert row.before.value == pytest.approx(before.of(row.figure, row.dataset, over), abs=1e-5)
        assert row.after.value == pytest.approx(after.of(row.figure, row.dataset, over), abs=1e-5)
        if row.figure == "step_limit":
            assert (row.p, row.samples) == (None, None)
            continue
        first, second = before.scored(row.figure), after.scored(row.figure)
        shared = {name: [key for key in first if key in second and key[0] == name] for name in over}
        differences = {name: [second[key] - first[key] for key in keys] for name, keys in shared.items()}
        if row.dataset == "average":
            assert row.difference == pytest.approx(fmean(map(fmean, differences.values())), abs=1e-5)
            continue
        own = differences[row.dataset]
        assert row.samples == len(own)
        assert row.difference == pytest.approx(fmean(own), abs=1e-5)
        if row.figure in contrast.shares:
            gained, lost = sum(each > 0 for each in own), sum(each < 0 for each in own)
            exact = binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
            assert row.p == pytest.approx(exact)
    for figure in {row.figure for row in contrast.rows} - {"step_limit"}:
        for averages in (True, False):
            family = [row for row in of_figure(contrast, figure) if (row.dataset == "average") is averages]
            adjusted = multipletests([row.p for row in family], method="holm")[1]
            assert [row.p_holm for row in family] == pytest.approx(adjusted)
    for row in contrast.averages:
        own_rows = [each for each in of_figure(contrast, row.figure) if each.dataset == row.dataset]
        assert len(own_rows) == len(MODELS)
        assert row.before.value == pytest.approx(fmean(each.before.value or 0 for each in own_rows), abs=1e-5)
        assert row.difference == pytest.approx(fmean(each.difference or 0 for each in own_rows), abs=1e-5)


def test_a_pair_is_tested_as_compare_tests_it(cells: list[StudyCell], found: StudyFigures) -> None:
    paths = [cell.folder for cell in cells if cell.model == "gpt" and cell.condition in "ac"]
    figures = compare(paths)["figures"]
    for row in found.contrasts[1].rows:
        if row.model == "gpt" and row.figure in figures:
            pair = figures[row.figure]["pairs"][0]
            entry = pair["average"] if row.dataset == "average" else pair["datasets"][row.dataset]
            assert row.ci is not None
            assert (row.difference, list(row.ci), row.p) == (entry["difference"], entry["ci"], entry["p"])


def test_the_papers_values_beside_a_contrast(found: StudyFigures) -> None:
    reference, hint, _, history, one_shot, _ = found.contrasts
    rod = next(row for row in reference.rows if (row.model, row.dataset) == ("qwen", "ROD"))
    assert (rod.paper_before, rod.paper_after) == (0.0, 100.0)
    over_models = {(row.figure, row.dataset): row for row in reference.averages}
    assert over_models["acc", "ROD"].paper_before == pytest.approx(8.2, abs=0.05)
    assert over_models["acc", "ROD"].paper_after == pytest.approx(98.3, abs=0.05)
    # The published average is over seven data sets and the rows here are over three.
    mine = next(row for row in reference.rows if (row.model, row.dataset) == ("qwen", "average"))
    assert (mine.paper_before, mine.paper_after) == (None, None)
    wanted = ((history, ("acc", "ROD")), (history, ("ps", "average")), (one_shot, ("acc", "MVP-N")))
    plots = [next(row for row in of.averages if (row.figure, row.dataset) == key) for of, key in wanted]
    assert [(row.paper_before, row.paper_after) for row in plots] == [(14.0, 1.5), (0.5, 1.8), (11.2, 11.6)]
    limits = next(row for row in hint.averages if (row.figure, row.dataset) == ("step_limit", "average"))
    assert limits.paper_after == 16.0


@pytest.mark.parametrize(("place", "number", "letter"), [(0, 4, "a"), (1, 5, "d"), (2, 7, "c")])
def test_the_actions_are_those_of_figures_4_5_and_7(
    found: StudyFigures, read: dict[tuple[str, str], Read], place: int, number: int, letter: str
) -> None:
    table = found.actions[place]
    assert (table.number, len(table.rows)) == (number, 3 * 4)
    for row in table.rows:
        counted = read[row.model, letter].actions(row.dataset)
        assert {action: of.value for action, of in row.actions.items()} == pytest.approx(counted, abs=1e-5)
        if letter == "a":
            assert row.change is None
        else:
            without = read[row.model, "a"].actions(row.dataset)["proactive"]
            assert row.change == pytest.approx(100 * (counted["proactive"] - without) / without, abs=1e-3)
    published = {row.model: row.paper_change for row in table.rows if row.dataset == "average"}
    assert published == {"qwen": -99 if letter == "d" else None, "gpt": None, "mine": None}
    for row in table.averages:
        counted = fmean(read[model, letter].actions(row.dataset)["abstain"] for model in MODELS)
        assert row.actions["abstain"].value == pytest.approx(counted, abs=1e-5)


def test_the_curve_is_that_of_figures_10_and_11(
    found: StudyFigures, read: dict[tuple[str, str], Read]
) -> None:
    assert found.curve is not None
    assert found.curve.models == tuple(MODELS)
    at_once = [
        {
            (line["dataset"], line["sample"]): line["correct"] and len(line["turns"]) == 1
            for line in read[model, "a"].lines
        }
        for model in MODELS
    ]
    shared = set.intersection(*map(set, at_once))
    counts = {sample: sum(first[sample] for first in at_once) for sample in shared}
    assert [entry["threshold_percent"] for entry in found.curve.entries] == pytest.approx(
        [25, 33.333333, 66.666667, 100, None]
    )
    for entry, least in zip(found.curve.entries, (1, 1, 2, 3, 4), strict=True):
        kept = [count for count in counts.values() if count < least]
        assert entry["total"]["samples"] == len(kept)
        assert entry["total"]["first_turn_acc"] == pytest.approx(100 * fmean(kept) / 3, abs=1e-5)
        in_c = [count for (name, _), count in counts.items() if name == "IN-C" and count < least]
        assert entry["datasets"]["IN-C"]["samples"] == len(in_c)
    assert any("--filter none" in note for note in found.notes)


def test_the_json_is_the_same_each_time_and_needs_no_more(
    cells: list[StudyCell], found: StudyFigures
) -> None:
    text = json.dumps(found.to_json(), allow_nan=False)
    of_one = [cell for cell in cells if cell.model == "qwen"]
    assert study_figures(of_one).to_json() == study_figures(of_one).to_json()
    content = json.loads(text)
    assert content["schema"] == 1
    assert list(content) == [
        *("schema", "source", "models", "cells", "tables", "contrasts", "actions", "curve", "notes", "method")
    ]
    assert content["tables"][0]["rows"][0]["figures"]["acc"]["ROD"]["paper"]["published"] == 0.0


def test_cells_that_are_left_out_are_named(tmp_path: Path) -> None:
    one = [played("ROD", number, "r") for number in range(3)]
    paths = {name: tmp_path / name for name in ("first", "again", "unfiltered", "empty", "other", "none")}
    record(paths["first"], one)
    record(paths["again"], one, params={"temperature": 1.0})
    record(paths["unfiltered"], one, filter="none")
    record(paths["empty"], [], hint=True)
    record(paths["other"], one, history=True, data="other data")
    found = study_figures([StudyCell("m", name, path) for name, path in paths.items()])
    assert [cell.condition for cell in found.cells] == ["first", "again", "unfiltered", "other"]
    assert [table.filter for table in found.tables] == ["official", "none", "official"]
    assert found.contrasts == ()
    again, empty, unplayed, other = found.notes
    assert again == "m/again is left out: its condition is that of m/first (zero-shot)."
    assert empty == "m/empty has no episode with a score yet."
    assert unplayed == "m/none was not played yet."
    assert other.startswith("The data of ROD are not known to be the same in ")
    assert found.curve is not None
    assert found.curve.filter == "none"


def test_nothing_played_is_an_empty_report(tmp_path: Path) -> None:
    found = study_figures([StudyCell("m", "zero-shot", tmp_path / "nothing")])
    assert (found.models, found.tables, found.curve) == ((), (), None)
    assert found.notes == ("m/zero-shot was not played yet.",)
