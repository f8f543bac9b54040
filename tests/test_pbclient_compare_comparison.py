"""Runs are compared on what they share, and on nothing else; what people read says what was compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from recorded_run import Line, answer, choice, record, unresolved

from pbclient import RunConfig, run
from pbclient.cli.app import main
from pbclient.compare.comparison import compare
from pbclient.compare.paired import MCNEMAR, SIGN_FLIP, holm, mcnemar, tango
from pbclient.errors import InputError
from pbclient.report.comparison import parts
from pbclient.report.terminal import draw, plain
from runs import NotARun


def block(dataset: str, rights: str, start: int = 0) -> list[Line]:
    """Episodes of one data set: a digit for each sample, right with no suggestions where it is 1."""
    return [choice(dataset, start + number, right == "1") for number, right in enumerate(rights)]


def refused(*paths: Path, force: bool = False) -> str:
    with pytest.raises(InputError) as caught:
        compare(paths, force=force)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert sentence.endswith(".")
    return sentence


@pytest.fixture
def two(tmp_path: Path) -> list[Path]:
    """Two runs over two data sets; of the ten samples of each, nine of ROD are shared."""
    first = [*block("ROD", "1100000000"), *block("QD", "1111100000"), choice("COCO", 5, True)]
    second = [*block("ROD", "111111110"), unresolved("ROD", 9), *block("QD", "1111101000")]
    return [
        record(tmp_path / "first", first, hint=False, limit=None),
        record(tmp_path / "second", second, hint=True, limit=10),
    ]


def test_only_what_both_resolved_is_compared(two: list[Path]) -> None:
    found = compare(two)
    assert found["shared"] == {"episodes": 19, "samples": {"ROD": 9, "QD": 10}}
    assert [
        (run["label"], run["resolved"], run["beyond"], run["without_score"]) for run in found["runs"]
    ] == [
        ("first", 21, 2, 0),
        ("second", 19, 0, 1),
    ]


@pytest.mark.parametrize(
    "names", [("one/run", "other/run"), ("openai-gpt-6-luna", "anthropic-claude-haiku-5")]
)
def test_runs_have_letters_where_their_folders_are_no_names_for_a_table(tmp_path, names) -> None:
    paths = [record(tmp_path / name, block("ROD", "10")) for name in names]
    assert [run["label"] for run in compare(paths)["runs"]] == ["A", "B"]


def test_ten_runs_fit_a_screen_under_their_own_names(tmp_path) -> None:
    names = [f"openai-gpt-{number}" for number in range(10)]
    found = compare(
        [record(tmp_path / name, block("ROD", "1" * n + "0" * (10 - n))) for n, name in enumerate(names)]
    )
    assert [run["label"] for run in found["runs"]] == [str(number) for number in range(10)]
    shown = plain(parts(found)).splitlines()
    tables = [line for line in plain(parts(found)[1:]).splitlines() if line[:1].isdigit()]
    assert max(map(len, tables)) <= 80
    assert len(shown) <= 80
    assert any(line.startswith("9 - 0") for line in tables)
    assert len(found["figures"]["acc"]["pairs"]) == 45  # for --json


def test_the_figures_and_differences_of_shares(two: list[Path]) -> None:
    acc = compare(two)["figures"]["acc"]
    assert acc["datasets"] == {"ROD": [22.222222, 88.888889], "QD": [50.0, 60.0]}
    assert acc["average"] == [36.111111, 74.444444]
    (pair,) = acc["pairs"]
    rod, quick = pair["datasets"]["ROD"], pair["datasets"]["QD"]
    low, high = tango(6, 0, 9) or (0.0, 0.0)
    assert (rod["difference"], rod["ci"]) == (66.666667, [round(100 * low, 6), round(100 * high, 6)])
    assert (rod["p"], rod["test"]) == (mcnemar(6, 0), MCNEMAR)
    assert [rod["p_holm"], quick["p_holm"]] == holm([mcnemar(6, 0), mcnemar(1, 0)])
    assert pair["average"]["difference"] == 38.333333
    assert pair["average"]["p"] == pair["average"]["p_holm"] == 2**-6
    assert acc["highest"] == {"datasets": {"ROD": [1, 0], "QD": [1, 0]}, "average": [1]}


def test_suggestions_are_compared_by_their_mean(tmp_path: Path) -> None:
    paths = [
        record(tmp_path / "a", [choice("ROD", number, True, 0) for number in range(8)]),
        record(tmp_path / "b", [choice("ROD", number, True, 1 + number % 3) for number in range(8)]),
    ]
    ps = compare(paths)["figures"]["ps"]
    entry = ps["pairs"][0]["datasets"]["ROD"]
    assert (ps["unit"], ps["datasets"]["ROD"]) == ("suggestions an episode", [0.0, 1.875])
    assert (entry["difference"], entry["p"], entry["test"]) == (1.875, 2 / 2**8, SIGN_FLIP)
    assert entry["ci"][0] < 1.875 < entry["ci"][1]


def test_a_run_compared_with_its_copy_is_the_same(two: list[Path], tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in two[0].iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    found = compare([two[0], copy])
    assert found["differences"] == {}
    assert all(
        (entry["difference"], entry["p"]) == (0.0, 1.0)
        for figure in found["figures"].values()
        for entry in [*figure["pairs"][0]["datasets"].values(), figure["pairs"][0]["average"]]
    )
    assert found["flips"] == [{"runs": [0, 1], "became_right": [], "became_wrong": []}]


@settings(deadline=None, max_examples=25)
@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 3)), min_size=1, max_size=12))
def test_the_other_way_round_everything_changes_its_sign(
    tmp_path_factory: pytest.TempPathFactory, episodes: list[tuple[bool, bool, int]]
) -> None:
    folder = tmp_path_factory.mktemp("runs")
    first = record(folder / "a", [choice("QD", i, right) for i, (right, _, _) in enumerate(episodes)])
    second = record(folder / "b", [choice("QD", i, right, ps) for i, (_, right, ps) in enumerate(episodes)])
    there, back = compare([first, second]), compare([second, first])
    for name in ("acc", "ps"):
        to, fro = (found["figures"][name]["pairs"][0]["datasets"]["QD"] for found in (there, back))
        assert to["difference"] == -fro["difference"]
        assert (to["p"], to["p_holm"]) == (fro["p"], fro["p_holm"])
    for name in ("acc", "ps"):
        limits = [found["figures"][name]["pairs"][0]["average"]["ci"] for found in (there, back)]
        assert limits[0] == [-limits[1][1], -limits[1][0]]
    assert there["flips"][0]["became_right"] == back["flips"][0]["became_wrong"]


def test_a_sample_counts_once_however_often_it_was_repeated(tmp_path: Path) -> None:
    """Nine samples in step over three repeats are nine samples; only shared repeats count."""
    rights = "110000000"
    once = [record(tmp_path / "a", block("ROD", rights)), record(tmp_path / "b", block("ROD", "1" * 9))]
    often = [
        record(tmp_path / f"{path.name}3", [{**line, "repeat": n} for n in range(3) for line in lines])
        for path, lines in zip(once, [block("ROD", rights), block("ROD", "1" * 9)], strict=True)
    ]
    record(tmp_path / "b3", [choice("ROD", 0, False, repeat=3)])  # a repeat of one run alone
    single, repeated = (compare(paths) for paths in (once, often))
    assert repeated["shared"] == {"episodes": 27, "samples": {"ROD": 9}}
    one, three = (found["figures"]["acc"]["pairs"][0]["datasets"]["ROD"] for found in (single, repeated))
    assert (one["ci"], one["difference"]) == (three["ci"], three["difference"])
    assert three["p"] == pytest.approx(one["p"], rel=1e-12)
    assert (one["test"], three["test"]) == (MCNEMAR, SIGN_FLIP)


def test_repeats_are_averaged_within_their_sample(tmp_path: Path) -> None:
    # Sample 0 is shared in three repeats, sample 1 in one: both weigh the same.
    lines = [choice("ROD", 0, False, repeat=n) for n in range(3)]
    first = record(tmp_path / "a", [*lines, choice("ROD", 1, True), choice("ROD", 1, True, repeat=1)])
    second = record(tmp_path / "b", [*lines, choice("ROD", 1, True), unresolved("ROD", 1, repeat=1)])
    assert compare([first, second])["figures"]["acc"]["datasets"]["ROD"] == [50.0, 50.0]


def test_three_runs_have_a_best_and_those_that_are_tied_with_it(tmp_path: Path) -> None:
    paths = [
        record(tmp_path / name, block("QD", rights))
        for name, rights in (("low", "0" * 20), ("high", "1" * 20), ("near", "1" * 18 + "00"))
    ]
    found = compare(paths)
    acc = found["figures"]["acc"]
    assert [pair["runs"] for pair in acc["pairs"]] == [[0, 1], [0, 2], [1, 2]]
    p_values = [pair["datasets"]["QD"]["p"] for pair in acc["pairs"]]
    assert p_values == [mcnemar(20, 0), mcnemar(18, 0), mcnemar(0, 2)]
    assert [pair["datasets"]["QD"]["p_holm"] for pair in acc["pairs"]] == holm(p_values)
    assert acc["highest"]["average"] == [1, 2]
    assert "Highest average acc: high; not told apart from it: near." in plain(parts(found))


def _judge(model: str) -> Line:
    return {"provider": "openai", "model": model, "params": {}}


def test_open_ended_runs_are_compared_by_three_shares(tmp_path: Path) -> None:
    first = [answer("ROD", number, number < 2, 0) for number in range(10)]
    second = [answer("ROD", number, number < 2, 1) for number in range(10)]
    paths = [
        record(tmp_path / "a", [*first, answer("ROD", 10, None, None)], mode="oeg", judge=_judge("j")),
        record(tmp_path / "b", [*second, answer("ROD", 10, True, 1)], mode="oeg", judge=_judge("k")),
    ]
    found = compare(paths)
    assert {name: figure["datasets"]["ROD"] for name, figure in found["figures"].items()} == {
        "acc": [20.0, 20.0],
        "ps": [0.0, 100.0],
        "agg": [20.0, 100.0],
    }
    assert found["figures"]["agg"]["pairs"][0]["datasets"]["ROD"]["p"] == mcnemar(8, 0)
    assert found["differences"] == {"model": ["a", "b"], "judge.model": ["j", "k"]}
    assert found["runs"][0]["without_score"] == 1
    assert "agg %" in plain(parts(found))


def test_multiple_choice_is_not_compared_with_open_answers(tmp_path: Path) -> None:
    choose = record(tmp_path / "a", [choice("ROD", 1, True)])
    free = record(tmp_path / "b", [answer("ROD", 1, True, 0)], mode="oeg")
    assert "--mode mcqa" in refused(choose, free)
    assert "--mode oeg" in refused(choose, free)


def test_answers_that_nobody_judged_have_to_be_judged_first(tmp_path: Path) -> None:
    paths = [
        record(tmp_path / name, [answer("ROD", 1, judged and True, judged)], mode="oeg")
        for name, judged in (("a", 1), ("b", None))
    ]
    assert f"`pbclient judge {paths[1]}`" in refused(*paths)


def test_runs_that_share_nothing_are_refused(tmp_path: Path) -> None:
    paths = [record(tmp_path / name, block("ROD", "1", start)) for name, start in (("a", 1), ("b", 2))]
    assert (
        refused(*paths) == f"No episode is resolved in all of these runs (1 in {paths[0]}, 1 in {paths[1]})."
    )


def test_too_few_runs_and_the_same_run_twice_are_refused(two: list[Path]) -> None:
    assert "two runs or more" in refused(two[0])
    assert "named twice" in refused(two[0], two[0] / ".." / two[0].name)
    with pytest.raises(NotARun, match="name a folder that `pbclient run` has made"):
        compare([two[0], two[0] / "nothing"])


@pytest.mark.parametrize(
    "line",
    [
        {**choice("ROD", 1, True), "correct": None},
        {**choice("ROD", 1, True), "suggestions": None},
        {**choice("ROD", 1, True), "dataset": "RODD"},
    ],
)
def test_a_damaged_line_is_named(tmp_path: Path, line: Line) -> None:
    whole, damaged = record(tmp_path / "a", [choice("ROD", 1, True)]), record(tmp_path / "b", [line])
    assert str(damaged) in refused(whole, damaged)
    assert f"{line['dataset']} 1 (repeat 0)" in refused(whole, damaged)


def sources(digest: str, **of: str) -> dict[str, Any]:
    return {"digest": digest, "sources": of}


def test_runs_of_other_data_are_refused_unless_forced(tmp_path: Path) -> None:
    lines = [choice("ROD", 1, True), choice("QD", 1, True)]
    first = record(tmp_path / "a", lines, data=sources("1", ROD="x", QD="y"))
    second = record(tmp_path / "b", lines, data=sources("2", ROD="x", QD="z"))
    assert "The data of QD are not known to be the same" in refused(first, second)
    found = compare([first, second], force=True)
    assert found["other_data"] == ["QD"]
    assert "The data of QD may differ" in plain(parts(found))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1", "1"),
        ("1", sources("1", ROD="x")),
        # Another filter, or fewer data sets: the same file all the same.
        (sources("1", ROD="x", QD="y"), sources("2", ROD="x")),
    ],
)
def test_the_same_data_are_known_by_what_was_played_or_where_it_is_from(
    tmp_path: Path, one: Any, other: Any
) -> None:
    first = record(tmp_path / "a", block("ROD", "10"), data=one)
    second = record(tmp_path / "b", block("ROD", "01"), data=other)
    assert compare([first, second])["other_data"] == []


def test_runs_without_sources_have_to_have_played_the_same(tmp_path: Path) -> None:
    paths = [record(tmp_path / digest, block("ROD", "10"), data=digest) for digest in "ab"]
    assert "--force" in refused(*paths)


def test_the_differences_of_configuration_stand_above_the_table(two: list[Path]) -> None:
    found = compare(two)
    assert found["differences"] == {"model": ["first", "second"], "hint": [False, True], "limit": [None, 10]}
    above, _ = plain(parts(found)).split("acc %", 1)
    assert "  hint: first=false, second=true\n  limit: first=default, second=10\n" in above


def test_an_option_that_is_absent_is_the_default(tmp_path: Path) -> None:
    first = record(tmp_path / "a", block("ROD", "1"), model="m", history=None)
    second = record(tmp_path / "b", block("ROD", "1"), model="m", params={"temperature": 0.5})
    assert compare([first, second])["differences"] == {"params.temperature": [0.0, 0.5]}


def test_flips_are_counted_and_listed_on_request(tmp_path: Path) -> None:
    paths = [
        record(tmp_path / "a", [*block("ROD", "0" * 12), *block("QD", "11")]),
        record(tmp_path / "b", [*block("ROD", "1" * 12), *block("QD", "01")]),
    ]
    found = compare(paths)
    assert found["flips"][0]["became_wrong"] == [["QD", "0", 0]]
    assert [which[1] for which in found["flips"][0]["became_right"]] == [str(number) for number in range(12)]
    short, long = plain(parts(found)), plain(parts(found, flips=True))
    assert "From a to b 12 became right and 1 became wrong." in short
    assert "  right: ROD 0, ROD 1, ROD 2, ROD 3, ROD 4, and 7 more (--flips)\n  wrong: QD 0" in short
    assert "ROD 10, ROD 11\n" in long
    assert "more" not in long


def test_what_people_read(two: list[Path]) -> None:
    text = plain(parts(compare(two))).replace(str(two[0].parent), "results")
    assert text == WHOLE


def test_a_terminal_shows_the_same_words(two: list[Path]) -> None:
    found = parts(compare(two))
    drawn = click.unstyle(draw(found, 80))
    assert max(map(len, drawn.splitlines())) <= 80
    assert "".join(drawn.split()).replace("─", "") == "".join(plain(found).split())


def test_the_command_prints_everything_as_json(two: list[Path]) -> None:
    done = CliRunner().invoke(main, ["compare", *map(str, two), "--json"])
    assert done.exit_code == 0
    assert json.loads(done.stdout) == compare(two)
    assert CliRunner().invoke(main, ["compare", *map(str, two)]).stdout == plain(parts(compare(two))) + "\n"


@pytest.mark.slow
def test_two_runs_of_this_client_compare(samples: Path, tmp_path: Path) -> None:
    paths = [tmp_path / "oracle", tmp_path / "always-abstain"]
    for path in paths:
        run(RunConfig(provider="baseline", model=path.name, data=samples, out=path))
    acc = compare(paths)["figures"]["acc"]
    assert acc["average"] == [100.0, 0.0]
    assert acc["highest"]["average"] == [0]
    assert acc["pairs"][0]["average"]["p"] < 1e-4


WHOLE = """\
first   results/first (openai first): 21 episodes resolved, 2 beyond the shared
second  results/second (openai second): 19 episodes resolved, 1 without a score
They differ in:
  model: first=first, second=second
  hint: first=false, second=true
  limit: first=default, second=10
Compared on the 19 episodes (of 19 samples) that all of them resolved.

acc %     ROD     QD  average
first   22.2*  50.0*    36.1
second  88.9*  60.0*    74.4*

ps        ROD     QD  average
first   0.00*  0.00*    0.00*
second  0.00*  0.00*    0.00*

* the highest of the runs, or not told apart from it (p >= 0.05 after Holm)
Highest average acc: second; told apart from all others.
Highest average ps: first; not told apart from it: second.

acc %           data set  samples  difference [95 % CI]       p  p Holm
second - first       ROD        9  +66.7 [+16.8, +87.9]  0.0312  0.0625
second - first        QD       10  +10.0 [-20.5, +40.4]  1.0000  1.0000
second - first   average       19   +38.3 [+9.1, +56.9]  0.0156  0.0156

ps              data set  samples  difference [95 % CI]       p  p Holm
second - first       ROD        9  +0.00 [+0.00, +0.00]  1.0000  1.0000
second - first        QD       10  +0.00 [+0.00, +0.00]  1.0000  1.0000
second - first   average       19  +0.00 [+0.00, +0.00]  1.0000  1.0000

From first to second 7 became right and 0 became wrong.
  right: ROD 2, ROD 3, ROD 4, ROD 5, ROD 6, and 2 more (--flips)"""
