"""The published figures agree with themselves, and each run with the table of its condition or with none."""

from __future__ import annotations

from typing import Any

import pytest

from pbclient.benchmark.package import STEMS, kept_ids
from pbclient.benchmark.paper import AVERAGE, SAMPLES_BEFORE_FILTER, SAMPLES_KEPT, Table, paper

TABLES = [*paper().tables.values(), paper().training]
ROWS = [(table, model, figure) for table in TABLES for model in table.rows for figure in table.figures]


def test_all_tables_are_there_with_all_their_rows() -> None:
    sizes = {table.number: (len(table.rows), table.figures) for table in TABLES}
    assert sizes == {
        1: (22, ("acc", "ps")),
        2: (17, ("acc", "ps")),
        3: (8, ("acc", "ps")),
        4: (21, ("acc", "ps")),
        6: (21, ("acc",)),
        7: (22, ("acc", "ps")),
        9: (17, ("agg", "acc", "ps")),
        10: (12, ("acc", "psr")),
    }
    columns = {tuple(table.rows[model][figure]) for table, model, figure in ROWS}
    assert columns == {(*STEMS, AVERAGE)}


@pytest.mark.parametrize(("table", "model", "figure"), ROWS, ids=lambda each: str(each)[:24])
def test_each_average_is_that_of_its_row(table: Table, model: str, figure: str) -> None:
    *values, average = table.rows[model][figure].values()
    assert average == pytest.approx(sum(values) / len(values), abs=0.1)


def test_shares_are_whole_samples_of_the_counts_that_stand_with_them() -> None:
    """Of ROD and VSOD one sample is more than the rounding: no other count would fit."""
    for table in TABLES:
        for figure in table.shares:
            for name in ("ROD", "VSOD"):
                n = table.samples[name]
                possible = {
                    round(100 * right / n + nudge, 1) for right in range(n + 1) for nudge in (-1e-9, 1e-9)
                }
                wrong = {row[figure][name] for row in table.rows.values()} - possible
                assert not wrong, (table.number, figure, name)


def test_the_counts_of_samples_are_those_of_the_installed_filter() -> None:
    samples = paper().samples
    assert samples["filtered"] == {name: len(kept_ids(name)) for name in STEMS}
    assert sum(samples["filtered"].values()) == SAMPLES_KEPT
    assert sum(samples["unfiltered"].values()) == SAMPLES_BEFORE_FILTER
    assert samples["open_ended"] == {name: min(100, count) for name, count in samples["filtered"].items()}


def test_the_averages_over_models_are_those_of_the_plots() -> None:
    """79.8 with the reference frame against 17.5 without, over the models that both tables have."""
    zero_shot, reference = (paper().tables[name, "filtered"].rows for name in ("zero-shot", "reference"))
    both = [name for name in zero_shot if name in reference]
    for rows, rod, average in ((zero_shot, 8.2, 17.5), (reference, 98.3, 79.8)):
        for column, published in (("ROD", rod), (AVERAGE, average)):
            mean = sum(rows[name]["acc"][column] for name in both) / len(both)
            assert mean == pytest.approx(published, abs=0.06)


@pytest.mark.parametrize(
    ("config", "number"),
    [
        ({}, 1),
        ({"filter": None, "hint": False, "options": "valid", "shots": 0}, 1),
        ({"filter": "none"}, 4),
        ({"reference": True}, 6),
        ({"hint": True}, 7),
        ({"mode": "oeg"}, 2),
        ({"mode": "oeg", "hint": True}, 9),
        ({"mode": "oeg", "turns": "many"}, 10),
        # What the paper has no table for.
        ({"filter": "sha256:0"}, None),
        ({"filter": "none", "hint": True}, None),
        ({"filter": "none", "mode": "oeg"}, None),
        ({"hint": True, "reference": True}, None),
        ({"history": True}, None),
        ({"history": True, "resize": True}, None),
        ({"resize": True}, None),
        ({"shots": 1}, None),
        ({"shots": 3, "cot": True}, None),
        ({"options": "random"}, None),
        ({"mode": "oeg", "turns": "many", "hint": True}, None),
        ({"mode": "oeg", "reference": True}, None),
    ],
)
def test_a_run_belongs_to_the_table_of_its_own_condition(config: dict[str, Any], number: int | None) -> None:
    found = paper().look_up({"model": "Qwen/Qwen2.5-VL-7B-Instruct", **config})
    assert (found.table and found.table.number) == number
    assert found.model == "Qwen2.5-VL-7B"
    if number is None:
        assert found.row is None
        assert str(found.note).startswith("The paper has no table for this condition (")
    else:
        assert found.note is None
        assert found.row is found.table.rows["Qwen2.5-VL-7B"]


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("llava-hf/llava-1.5-7b-hf", "LLaVA-1.5-7B"),
        ("qwen/qwen2.5-vl-72b-instruct", "Qwen2.5-VL-72B"),
        ("OpenGVLab/InternVL3-8B-hf", "InternVL3-8B"),
        ("openai/gpt-4.1", "GPT-4.1"),
        ("gpt-4.1", "GPT-4.1"),
        ("o4-mini", "o4-mini"),
        ("GPT-5.2", "GPT-5.2"),
        # Others, however near.
        ("gpt-4.1-mini", None),
        ("Qwen/Qwen2.5-VL-7B-Instruct-AWQ", None),
        ("Qwen2-VL-7B-Instruct", None),
        ("my/qwen2.5-vl-7b-instruct", None),
        ("", None),
        (None, None),
    ],
)
def test_names_are_those_of_the_list_and_no_guesses(name: object, model: str | None) -> None:
    assert paper().model(name) == model


def test_an_unknown_model_and_one_without_a_row_are_said() -> None:
    unknown = paper().look_up({"model": "gpt-6-luna"})
    assert (unknown.note, unknown.row) == ("gpt-6-luna is no name of a model in the paper's tables.", None)
    absent = paper().look_up({"model": "gpt-5.2", "reference": True})
    assert absent.note == "The paper's Table 6 (reference frame, filtered) has no row for GPT-5.2."


def test_every_row_has_a_name_and_every_name_a_row() -> None:
    named = set(paper().names.values())
    assert named == set(paper().tables["zero-shot", "filtered"].rows)
    assert all(set(table.rows) <= named for table in paper().tables.values())
    assert {name.partition("/")[0] for name in paper().training.rows} <= named


def test_training_rows_are_those_of_the_model() -> None:
    assert list(paper().trained("Qwen2.5-VL-3B")) == [f"Qwen2.5-VL-3B/r={r}" for r in ("0.5", "0.75", "1.0")]
    assert paper().trained("Qwen2.5-VL-3B")["Qwen2.5-VL-3B/r=1.0"]["ps"]["VSOD"] == 60.0
    assert paper().trained("GPT-4.1") == {}


def test_it_says_where_it_is_from() -> None:
    assert paper().cited == "De Min et al., arXiv 2603.19466 v2, 26 June 2026"
