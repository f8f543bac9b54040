"""The paper's filter: what is dropped, what is written, and that `run --filter` plays what is left."""

from __future__ import annotations

import json
import re
from collections import Counter
from fractions import Fraction
from itertools import count, islice
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from recorded_run import Line, answer, choice, record, unresolved

from pbclient import RunConfig, run
from pbclient.benchmark.package import kept_ids
from pbclient.cli.app import main
from pbclient.compare.filter import dump, make_filter, read_threshold, write
from pbclient.data.filters import digest, read_filter
from pbclient.data.folder import open_data
from pbclient.errors import InputError
from pbclient.report.tables import of_filter
from pbclient.report.terminal import plain

QUARTER = Fraction(1, 4)


def four(tmp_path: Path, *rows: str, dataset: str = "ROD") -> list[Path]:
    """Four runs; each row is a sample, each letter what a run did: right, wrong, later right, unresolved."""
    made = {
        "r": lambda sample: choice(dataset, sample, True),
        "w": lambda sample: choice(dataset, sample, False),
        "l": lambda sample: choice(dataset, sample, True, suggestions=1),
        "-": lambda sample: unresolved(dataset, sample),
    }
    lines = [[made[row[place]](sample) for sample, row in enumerate(rows)] for place in range(4)]
    return [record(tmp_path / f"model-{place}", each, filter="none") for place, each in enumerate(lines)]


def refused(paths: list[Path]) -> str:
    with pytest.raises(InputError) as caught:
        make_filter(paths, QUARTER)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert sentence.endswith(".")
    return sentence


@pytest.mark.parametrize(
    ("row", "kept"),
    [
        ("wwww", True),
        ("rwww", False),  # exactly a quarter
        ("lwww", True),  # right, but not at the first turn
        ("llll", True),
        ("rrrr", False),
        ("-www", True),
        ("r---", False),  # its share is over the run that resolved it
        ("----", True),  # nothing shows that it is easy
    ],
)
def test_a_sample_is_dropped_when_a_quarter_is_right_at_once(tmp_path: Path, row: str, kept: bool) -> None:
    found = make_filter(four(tmp_path, row, "wwww"), QUARTER)
    assert found["ids"] == {"ROD": [0, 1] if kept else [1]}


def test_a_repeated_sample_counts_by_the_share_of_its_resolved_repeats(tmp_path: Path) -> None:
    # A third of the resolved repeats in one run and none in the other: a share of 1/6.
    often = [choice("QD", 2, number == 0, repeat=number) for number in range(3)]
    often += [unresolved("QD", 2, repeat=3)]
    paths = [
        record(tmp_path / "a", [*often, choice("QD", 3, False)]),
        record(tmp_path / "b", [choice("QD", 2, False), choice("QD", 3, False)]),
    ]
    assert make_filter(paths, Fraction(1, 6))["ids"] == {"QD": [3]}
    assert make_filter(paths, Fraction(17, 100))["ids"] == {"QD": [2, 3]}


def test_the_table_before_and_after(tmp_path: Path) -> None:
    paths = four(tmp_path, "rrww", "rwww", "lwww", "r---", "----", "wwww")
    table = make_filter(paths, Fraction(1, 2))["table"]
    # Shares 1/2, 1/4, 0, 1, unknown, 0.
    assert table["before"]["total"] == {"samples": 6, "first_turn_acc": 35.0}
    assert table["after"] == {
        "datasets": {"ROD": {"samples": 4, "first_turn_acc": 8.333333}},
        "total": {"samples": 4, "first_turn_acc": 8.333333},
    }


def test_samples_that_some_or_no_run_resolved_are_counted(tmp_path: Path) -> None:
    found = make_filter(four(tmp_path, "-www", "----", "wwww"), QUARTER)
    assert found["made"]["partly_resolved"] == 1
    assert found["made"]["resolved_by_none"] == {"ROD": [1]}
    text = plain(of_filter(found))
    assert "Not resolved in every run (their share is over the others): 1" in text
    assert "Resolved in no run, and kept: 1" in text


def test_a_data_set_of_which_nothing_is_left_is_in_the_table_and_not_in_the_list(tmp_path: Path) -> None:
    paths = four(tmp_path / "rod", "rrrr", "rrrr")
    for path in paths:
        lines = [json.loads(line) for line in (path / "episodes.jsonl").read_text().splitlines()]
        record(tmp_path / path.name, [*lines, choice("QD", 7, False)], filter="none")
    found = make_filter([tmp_path / path.name for path in paths], QUARTER)
    assert found["ids"] == {"QD": [7]}
    assert re.search(r"^ROD +2 +88 +0 +88 +100.0 +-$", plain(of_filter(found)), re.MULTILINE)


def test_what_people_read(tmp_path: Path) -> None:
    paths = four(tmp_path, "rrww", "rwww", "wwww", "-www")
    assert plain(of_filter(make_filter(paths, QUARTER))) == WHOLE


def test_runs_on_filtered_samples_are_pointed_out(tmp_path: Path) -> None:
    path = record(tmp_path / "a", [choice("ROD", 1, False)])
    assert "filtered already (official)" in plain(of_filter(make_filter([path], QUARTER)))


def test_a_run_that_lacks_samples_is_not_finished(tmp_path: Path) -> None:
    first = record(tmp_path / "a", [choice("ROD", number, False) for number in range(5)])
    second = record(tmp_path / "b", [choice("ROD", 0, False)])
    assert refused([first, second]).startswith(
        f"{second} has no episode of 4 of the 5 samples (ROD 1, ROD 2, ROD 3, ...): finish it"
    )


@pytest.mark.parametrize(
    ("lines", "config", "said"),
    [
        ([answer("ROD", 1, True, 0)], {"mode": "oeg"}, "--mode oeg"),
        ([choice("ROD", 1, True)], {"reference": True}, "--reference"),
        ([], {}, "no episode yet"),
        ([choice("ROD", 1, True)], {}, "keeps no sample at all: raise --threshold"),
        ([{**choice("ROD", 1, True), "correct": None}], {}, "no valid 'correct'"),
        ([{**choice("ROD", 1, True), "suggestions": None}], {}, "no valid 'suggestions'"),
        ([{**choice("ROD", 1, True), "sample": "one"}], {}, "ROD one is no id"),
    ],
)
def test_runs_that_no_filter_can_be_made_of(
    tmp_path: Path, lines: list[Line], config: Line, said: str
) -> None:
    assert said in refused([record(tmp_path / "run", lines, **config)])


def test_no_run_and_runs_of_other_data(tmp_path: Path) -> None:
    assert "name their folders" in refused([])
    paths = [record(tmp_path / data, [choice("ROD", 1, False)], data=data) for data in "ab"]
    assert "--force" in refused(paths)
    assert make_filter(paths, QUARTER, force=True)["made"]["other_data"] == ["ROD"]


@pytest.mark.parametrize(("text", "share"), [("25", QUARTER), (" 12.5 %", Fraction(1, 8)), ("100", 1)])
def test_thresholds(text: str, share: Fraction) -> None:
    assert read_threshold(text) == share


@pytest.mark.parametrize(
    "text", ["", "x", "0", "-1", "100.1", "1/0", "nan", "inf", "1e999999999", "1e-999999999"]
)
def test_no_thresholds(text: str) -> None:
    with pytest.raises(InputError, match="--threshold must be"):
        read_threshold(text)


def test_a_share_is_compared_exactly(tmp_path: Path) -> None:
    # Three runs of ten: 0.3 in floats is less than 3 / 10 of percent arithmetic would make it.
    paths = [record(tmp_path / str(n), [choice("QD", 0, n < 3), choice("QD", 1, False)]) for n in range(10)]
    assert make_filter(paths, read_threshold("30"))["ids"] == {"QD": [1]}
    assert make_filter(paths, read_threshold("30.000001"))["ids"] == {"QD": [0, 1]}


def test_the_file_says_how_it_came_about_and_is_the_same_each_time(tmp_path: Path) -> None:
    paths = four(tmp_path, "rwww", "wwww", dataset="QD")
    found = make_filter(paths, QUARTER)
    content = json.loads(dump(found))
    assert content == found
    assert content["digest"] == digest({"QD": [1]})
    assert [each["model"] for each in content["made"]["runs"]] == [path.name for path in paths]
    assert content["made"]["threshold_percent"] == 25
    assert dump(make_filter(paths, QUARTER)) == dump(found)


def test_a_file_that_says_something_else_is_not_replaced(tmp_path: Path) -> None:
    paths = four(tmp_path, "rwww", "wwww")
    out = tmp_path / "kept.json"
    write(out, make_filter(paths, QUARTER))
    write(out, make_filter(paths, QUARTER))
    with pytest.raises(InputError, match="is there already"):
        write(out, make_filter(paths, Fraction(1, 2)))
    with pytest.raises(InputError, match="is there already"):
        write(tmp_path, make_filter(paths, QUARTER))


def test_the_command_writes_the_list(tmp_path: Path) -> None:
    paths = four(tmp_path, "rwww", "wwww")
    out = tmp_path / "kept.json"
    done = CliRunner().invoke(main, ["filter", *map(str, paths), "--threshold", "25", "--out", str(out)])
    assert done.exit_code == 0
    assert f"run --filter {out} plays them" in done.stdout
    assert (
        CliRunner().invoke(main, ["filter", *map(str, paths), "--json"]).stdout.encode() == out.read_bytes()
    )
    assert read_filter(str(out)).ids("ROD") == {1}


@pytest.mark.slow
def test_what_the_filter_keeps_of_recorded_runs_can_be_played(samples: Path, tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("random", "always-ask", "always-abstain")]
    for path in paths:
        run(RunConfig(provider="baseline", model=path.name, data=samples, out=path))
    found = make_filter(paths, Fraction(1, 3))
    write(tmp_path / "kept.json", found)
    with open_data(samples, keep=read_filter(str(tmp_path / "kept.json"))) as data:
        played = {name: sorted(int(each.id) for each in own) for name, own in data.samples.items()}
    assert played == found["ids"]
    assert found["table"]["after"]["total"]["first_turn_acc"] == 0
    assert 0 < found["table"]["after"]["total"]["samples"] < found["table"]["before"]["total"]["samples"]


PUBLISHED = {
    "ROD": (88, 88),
    "VSOD": (63, 42),
    "MVP-N": (4197, 2591),
    "IN-C": (4856, 1095),
    "QD": (3375, 2105),
    "CIT": (946, 396),
    "COCO": (4384, 1240),
}


def test_the_papers_counts_come_out_of_22_runs_over_its_samples(tmp_path: Path) -> None:
    """Of each data set as many samples as are published; six of the models know those that it drops."""
    names = ("ROD", "VSOD", "CIT")
    ids: dict[str, tuple[list[int], list[int]]] = {}
    for name in names:
        others = (number for number in count() if number not in kept_ids(name))
        ids[name] = sorted(kept_ids(name)), list(islice(others, PUBLISHED[name][0] - len(kept_ids(name))))
    paths = []
    for model in range(22):
        lines = []
        for name, (kept, dropped) in ids.items():
            lines += [choice(name, sample, model < 5) for sample in kept]
            lines += [choice(name, sample, model < 6) for sample in dropped]
        paths.append(record(tmp_path / str(model), lines, filter="none"))
    found = make_filter(paths, QUARTER)
    counts = {
        when: {name: row["samples"] for name, row in found["table"][when]["datasets"].items()}
        for when in ("before", "after")
    }
    for place, when in enumerate(("before", "after")):
        assert counts[when] == {name: PUBLISHED[name][place] for name in names}
        published = {name: both[place] for name, both in PUBLISHED.items()}
        assert found["table"]["paper"][when] == {**published, "total": sum(published.values())}
    assert found["ids"] == {name: kept for name, (kept, _) in ids.items()}
    by_models = {entry["models"]: entry["total"]["samples"] for entry in found["curve"]}
    assert (by_models[5], by_models[6], by_models[7]) == (0, 526, 1097)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.text("rwl-", min_size=4, max_size=4), min_size=1, max_size=8))
def test_the_curve_is_the_filter_at_each_threshold(
    tmp_path_factory: pytest.TempPathFactory, rows: list[str]
) -> None:
    paths = four(tmp_path_factory.mktemp("runs"), *rows, "wwww")
    found = make_filter(paths, Fraction(3, 10))
    assert [entry["threshold_percent"] for entry in found["curve"]] == [25.0, 30.0, 50.0, 75.0, 100.0, None]
    assert [entry["models"] for entry in found["curve"]] == [1, 2, 2, 3, 4, None]
    for entry in found["curve"][:-1]:
        own = make_filter(paths, Fraction(entry["threshold_percent"]) / 100)
        assert {name: entry[name] for name in ("datasets", "total")} == own["table"]["after"]
    assert {name: found["curve"][-1][name] for name in ("datasets", "total")} == found["table"]["before"]
    samples = Counter(entry["total"]["samples"] for entry in found["curve"])
    assert list(samples) == sorted(samples)  # never fewer as the threshold rises


@settings(deadline=None, max_examples=25)
@given(st.lists(st.text("rwl-", min_size=4, max_size=4), min_size=1, max_size=8), st.integers(1, 100))
def test_the_rule_holds_for_any_answers(
    tmp_path_factory: pytest.TempPathFactory, rows: list[str], percent: int
) -> None:
    paths = four(tmp_path_factory.mktemp("runs"), *rows, "wwww")
    kept = make_filter(paths, Fraction(percent, 100))["ids"]["ROD"]
    for sample, row in enumerate(rows):
        dropped = 100 * row.count("r") >= percent * (4 - row.count("-")) and row != "----"
        assert (sample in kept) is not dropped


WHOLE = """\
From 4 runs: openai model-0, openai model-1, openai model-2, openai model-3.

data set  samples before   paper  after  paper  first-turn acc % before  after
ROD                    4      88      2     88                     18.8    0.0

total                  4  17,909      2  7,557                     18.8    0.0

Dropped are samples that at least 25 % of the runs answered correctly at the first turn.
Not resolved in every run (their share is over the others): 1

dropped from  models  samples  first-turn acc %
25.0 %             1        2               0.0
50.0 %             2        3               8.3
75.0 %             3        4              18.8
100.0 %            4        4              18.8
none dropped       -        4              18.8"""
