"""A run is held against the paper's figures of its own condition; what differs is more than chance allows."""

from __future__ import annotations

import json
import re
from math import sqrt
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from recorded_run import Line, answer, played, record, unresolved
from statsmodels.stats.proportion import confint_proportions_2indep

from pbclient.benchmark.package import STEMS
from pbclient.benchmark.paper import paper
from pbclient.cli.app import main
from pbclient.compare.against_paper import ROUNDING, beside_paper
from pbclient.compare.comparison import compare
from pbclient.compare.paired import holm
from pbclient.compare.recorded import read_runs
from pbclient.compare.run_figures import read_figures
from pbclient.report.comparison import parts
from pbclient.report.published import beside
from pbclient.report.terminal import draw, plain
from pbclient.scores.intervals import stratified_mean, wilson

QWEN = "Qwen/Qwen2.5-VL-7B-Instruct"


def right(dataset: str, count: int, n: int) -> list[Line]:
    return [played(dataset, number, "r" if number < count else "sw") for number in range(n)]


def held(path: Path) -> Any:
    return beside_paper(read_runs([path]))["runs"][0]


@given(st.integers(1, 60), st.data())
def test_the_interval_of_a_share_is_newcombes_and_its_p_agrees(
    tmp_path_factory: pytest.TempPathFactory, n: int, data: st.DataObject
) -> None:
    count = data.draw(st.integers(0, n))
    path = record(tmp_path_factory.mktemp("run") / "run", right("VSOD", count, n), model="o4-mini")
    found = held(path)["figures"]["acc"]["VSOD"]
    assert (found["value"], found["published"]) == (pytest.approx(100 * count / n), 16.7)
    low, high = confint_proportions_2indep(count, n, 0.167 * 42, 42, method="newcomb", compare="diff")
    expected = [100 * low - ROUNDING, 100 * high + ROUNDING]
    assert found["ci"] == pytest.approx(expected, abs=1e-4)
    apart = not expected[0] <= 0 <= expected[1]
    assert (found["p"] < 0.05) is apart


def test_a_mean_has_the_runs_own_spread_on_both_sides(tmp_path: Path) -> None:
    lines = [played("ROD", number, "s" * (number % 4) + "w") for number in range(44)]
    found = held(record(tmp_path / "run", lines, model="LLaVA-1.5-7B"))["figures"]["ps"]["ROD"]
    assert (found["value"], found["published"], found["difference"]) == (1.5, 0.7, 0.8)
    # Half as many samples as the paper's 88: its spread is sqrt(1/2) of the run's.
    (run,) = read_runs([tmp_path / "run"])
    low, high = read_figures(run).entries["ROD"]["ps_ci"]
    below = sqrt((1.5 - low) ** 2 + 0.5 * (high - 1.5) ** 2) + ROUNDING
    above = sqrt((high - 1.5) ** 2 + 0.5 * (1.5 - low) ** 2) + ROUNDING
    assert found["ci"] == pytest.approx([0.8 - below, 0.8 + above])
    assert found["p"] < 0.001


def test_equal_to_the_paper_but_for_rounding_is_no_difference(tmp_path: Path) -> None:
    lines = [*right("ROD", 11, 88), *right("QD", 25, 98)]  # 12.5 % and 25.51 % beside 12.5 and 25.5
    found = held(record(tmp_path / "run", lines, model="LLaVA-1.5-7B"))["figures"]["acc"]
    assert (found["ROD"]["p"], found["QD"]["p"]) == (1.0, 1.0)


def test_a_mean_without_spread_tells_nothing(tmp_path: Path) -> None:
    found = held(record(tmp_path / "run", right("ROD", 0, 5), model="GPT-4.1"))["figures"]["ps"]["ROD"]
    assert (found["value"], found["ci"], found["p"], found["p_holm"]) == (1.0, None, None, None)


def test_the_average_stands_where_all_seven_are_there(tmp_path: Path) -> None:
    lines = [line for name in STEMS for line in right(name, 3, 10)]
    whole, six = (
        held(record(tmp_path / name, some, model=QWEN))["figures"]["acc"]
        for name, some in (("whole", lines), ("six", lines[:60]))
    )
    assert "average" not in six
    row = paper().tables["zero-shot", "filtered"].rows["Qwen2.5-VL-7B"]["acc"]
    samples = paper().samples["filtered"]
    ours = [(30.0, tuple(100 * limit for limit in wilson(3, 10) or ()))] * 7
    theirs = [
        (
            row[name],
            tuple(100 * limit for limit in wilson(row[name] / 100 * samples[name], samples[name]) or ()),
        )
        for name in STEMS
    ]
    mine, its = stratified_mean(ours), stratified_mean(theirs)  # type: ignore[arg-type]
    assert mine is not None
    assert its is not None
    mean = sum(value for value, _ in theirs) / 7
    below = sqrt((30 - mine[0]) ** 2 + (its[1] - mean) ** 2) + ROUNDING
    assert whole["average"]["difference"] == pytest.approx(30 - 9.9)
    # The published average is rounded: 9.9 for 9.914.
    assert whole["average"]["ci"][0] == pytest.approx(30 - 9.9 - below, abs=0.03)


def test_holm_goes_over_the_runs_of_a_table_and_not_of_others(tmp_path: Path) -> None:
    paths = [
        record(tmp_path / "a", [*right("ROD", 30, 88), *right("QD", 40, 100)], model=QWEN),
        record(tmp_path / "b", right("ROD", 20, 88), model="gpt-4.1"),
        record(tmp_path / "c", right("ROD", 10, 88), model=QWEN, hint=True),
    ]
    first, second, third = beside_paper(read_runs(paths))["runs"]
    family = [first["figures"]["acc"]["ROD"], first["figures"]["acc"]["QD"], second["figures"]["acc"]["ROD"]]
    assert [each["p_holm"] for each in family] == holm([each["p"] for each in family])
    assert third["table"] == 7
    assert third["figures"]["acc"]["ROD"]["p_holm"] == third["figures"]["acc"]["ROD"]["p"]
    assert first["figures"]["acc"]["ROD"]["p_holm"] > first["figures"]["acc"]["ROD"]["p"] > 0


def test_open_answers_are_held_as_shares(tmp_path: Path) -> None:
    lines = [answer("IN-C", number, False, int(number < 5)) for number in range(10)]
    path = record(tmp_path / "run", lines, mode="oeg", model="LLaVA-1.5-7B")
    found = held(path)
    assert found["table"] == 2
    assert "judge of open-ended answers is Qwen3-8B" in plain(beside(beside_paper(read_runs([path]))))
    assert found["figures"]["ps"]["IN-C"]["value"] == 50.0
    assert found["figures"]["ps"]["IN-C"]["published"] == 2.0
    assert found["figures"]["ps"]["IN-C"]["p"] < 0.01
    assert "agg" not in found["figures"]  # Table 2 has none


def test_several_turns_are_held_against_their_own_table(tmp_path: Path) -> None:
    lines = [answer("IN-C", number, number < 5, 0) for number in range(10)]
    found = held(record(tmp_path / "run", lines, mode="oeg", turns="many", model="LLaVA-1.5-7B"))
    assert found["table"] == 10
    assert found["figures"]["acc"]["IN-C"]["published"] == 3.0
    # Its ps is a mean number, which a share of episodes is not held against.
    assert list(found["figures"]) == ["acc"]


def test_what_people_read(tmp_path: Path) -> None:
    paths = [
        record(tmp_path / "mine", [*right("ROD", 30, 88), unresolved("QD", 1)], model=QWEN),
        record(tmp_path / "other", right("ROD", 3, 88), model="my/tuned", history=True),
        record(tmp_path / "odd", right("ROD", 3, 88), model="my/tuned"),
    ]
    found = compare(paths, with_paper=True)
    text = plain(beside(found["paper"]))
    assert text.startswith("The paper: De Min et al., arXiv 2603.19466 v2, 26 June 2026.\n\n")
    assert "other: The paper has no table for this condition (history)." in text
    assert "odd: my/tuned is no name of a model in the paper's tables." in text
    assert "mine: 1 of 89 episodes have no score; the paper scores every answer that came." in text
    assert re.search(r"^mine, acc % against Table 1 +run +paper +difference", text, re.MULTILINE)
    low, high = found["paper"]["runs"][0]["figures"]["acc"]["ROD"]["ci"]
    assert f"+34.1 [+{low:.1f}, +{high:.1f}]  <0.0001  <0.0001" in text
    assert len(re.findall(r"^InternVL3-8B  ", text, re.MULTILINE)) == 2  # Table 1, once for each figure
    drawn = click.unstyle(draw(parts(found), 90))
    assert max(map(len, drawn.splitlines())) <= 90


def test_what_training_made_of_a_model_stands_below_its_row(tmp_path: Path) -> None:
    lines = right("ROD", 1, 5)
    of = {
        name: record(tmp_path / name, lines, model=f"Qwen/Qwen2.5-VL-{name}-Instruct")
        for name in ("3B", "7B")
    }
    assert "Qwen2.5-VL-3B/r=0.5" in plain(beside(beside_paper(read_runs([of["3B"]]))))
    assert "Table 3" not in plain(beside(beside_paper(read_runs([of["7B"]]))))


def test_the_command_takes_one_run_beside_the_paper_and_two_without(tmp_path: Path) -> None:
    path = record(tmp_path / "run", right("ROD", 1, 5), model="gpt-4.1", mode="mcqa")
    done = CliRunner().invoke(main, ["compare", str(path), "--with", "paper"])
    assert done.exit_code == 0
    assert "run, acc % against Table 1" in done.stdout
    assert "They differ" not in done.stdout
    printed = CliRunner().invoke(main, ["compare", str(path), "--with", "paper", "--json"]).stdout
    assert json.loads(printed) == compare([path], with_paper=True)
    assert CliRunner().invoke(main, ["compare", str(path)]).exit_code != 0
    assert CliRunner().invoke(main, ["compare", "--with", "paper"]).exit_code != 0
