"""How a summary looks: whole outputs, in 80 columns, in narrower ones and in a pipe."""

from __future__ import annotations

import re
from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pbclient.report.summary import notes, parts
from pbclient.report.terminal import draw, plain

Entry = dict[str, Any]


def entry(n: int, acc: float, ps: float, spread: float = 5.0, **unresolved: int) -> Entry:
    resolved = n - sum(unresolved.values())
    right = acc * resolved / n
    return {
        "n": n,
        "resolved": resolved,
        "acc": acc,
        "acc_ci": [max(acc - spread, 0.0), min(acc + spread, 100.0)],
        "acc_bounds": [right, right + 100 * (n - resolved) / n],
        "ps": ps,
        "ps_ci": [ps * 0.9, ps * 1.1],
        "first_turn_acc": acc / 2,
        "step_limit": 3.14,
        "actions": {"proactive": 34.56, "abstain": 10.0, "category": 55.0, "mismatch": 0.44},
        "outcomes": {"resolved": resolved, **unresolved},
    }


def summary(datasets: dict[str, Entry], average: Entry | None = None, **cost: Any) -> Entry:
    money = {"settled": 0.0, "held": 0.0, "limit": 5.0, "saved_by_cache": 0.0, **cost}
    return {
        "schema": 1,
        "datasets": datasets,
        "average": average or {**entry(1, 40.0, 0.5), "over": list(datasets)},
        "cost": money,
        "calls": {"wire": 0, "hits": 123, "retries": 0},
    }


NOTHING: Entry = {"acc": None, "acc_ci": None, "ps": None, "ps_ci": None, "actions": {"proactive": None}}
WHOLE = summary(
    {"ROD": entry(88, 12.5, 0.7), "IN-C": entry(2000, 98.0, 12.25, spread=3.0)}, saved_by_cache=0.31
)
PARTIAL = summary(
    {
        "ROD": entry(88, 12.5, 0.7, refused=3, judge_failed=1),
        "IN-C": entry(2000, 98.0, 12.25, spread=3.0),
        "COCO": {
            **entry(10, 0.0, 0.0),
            **NOTHING,
            "resolved": 0,
            "acc_bounds": [0.0, 100.0],
            "outcomes": {"budget": 4},
        },
    },
    {**entry(1, 55.25, 6.475), "acc_bounds": [36.7, 71.3], "over": ["ROD", "IN-C"]},
    settled=1.236,
    held=0.00345,
)


def rendered(what: Entry, width: int = 80) -> str:
    return click.unstyle(draw(parts(what), width))


def test_the_table_of_a_finished_run() -> None:
    assert rendered(WHOLE) == WHOLE_TABLE


def test_the_table_of_a_run_with_unresolved_episodes() -> None:
    assert rendered(PARTIAL) == PARTIAL_TABLE


def test_the_plain_text_of_a_finished_run_keeps_the_column_of_bounds() -> None:
    assert plain(parts(WHOLE)) == WHOLE_PLAIN


def test_the_plain_text_of_a_run_with_unresolved_episodes() -> None:
    assert plain(parts(PARTIAL)) == PARTIAL_PLAIN


def test_a_run_in_which_nothing_happened_has_a_table() -> None:
    nothing = summary({}, {**NOTHING, "acc_bounds": None, "over": []})
    assert "average" in rendered(nothing)
    assert plain(parts(nothing)).splitlines()[1].split() == ["average", "0", "0", "-", "-", "-"]


def test_the_widest_table_fits_80_columns() -> None:
    # The whole benchmark ten times over, nearly all of it right, at the longest episodes there are.
    widest = entry(75570, 99.96, 13.0, spread=3.0, failed=75)
    lines = rendered(summary({"MVP-N": widest}, {**widest, "over": ["MVP-N"]})).splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert sum("[97.0, 100.0]" in line and "[11.7, 14.3]" in line for line in lines) == 2


def test_a_narrow_terminal_wraps_and_cuts_nothing() -> None:
    words = re.sub(r"[\s─]", "", plain(parts(PARTIAL)))
    assert sorted(words.replace("-", "")) == sorted(
        re.sub(r"[\s─]", "", rendered(PARTIAL, 50)).replace("-", "")
    )
    assert "…" not in rendered(PARTIAL, 50)


texts = st.builds(
    lambda sizes, acc, ps, hits: {
        **summary({name: entry(n, acc, ps, failed=n // 3) for name, n in sizes.items()}),
        "calls": {"wire": hits, "hits": hits, "retries": hits},
    },
    st.dictionaries(st.sampled_from(["ROD", "MVP-N", "COCO"]), st.integers(1, 10**7)),
    st.floats(0, 100),
    st.floats(0, 14),
    st.integers(0, 10**9),
)


@given(texts)
def test_plain_text_is_ascii_and_its_columns_stand_under_each_other(what: Entry) -> None:
    lines = plain(parts(what)).splitlines()
    assert plain(parts(what)).isascii()
    assert not plain(parts(what)).endswith("\n")
    grid = lines[: len(what["datasets"]) + 2]
    assert len({len(line) for line in grid}) == 1


@pytest.mark.parametrize(
    ("cost", "said"),
    [
        ({}, "$0.00 settled, $0.00 held of $5.00; saved $0.00"),
        ({"limit": None}, "$0.00 settled, $0.00 held (no limit); saved $0.00"),
        ({"limit": 0.0}, "$0.00 settled, $0.00 held of $0.00; saved $0.00"),
        ({"settled": 0.01, "held": 12.0}, "$0.01 settled, $12.00 held of $5.00; saved $0.00"),
        ({"settled": 0.0042, "held": 0.00001}, "$0.0042 settled, $0.00001 held of $5.00; saved $0.00"),
    ],
)
def test_money_never_rounds_to_nothing(cost: Entry, said: str) -> None:
    assert said in notes(summary({}, **cost))


@pytest.mark.parametrize(
    ("calls", "said"),
    [
        ({"wire": 0, "hits": 0, "retries": 0}, "0 calls, 0 hits, 0 retries"),
        ({"wire": 1, "hits": 1, "retries": 1}, "1 call, 1 hit, 1 retry"),
        ({"wire": 1234, "hits": 2, "retries": 3}, "1234 calls, 2 hits, 3 retries"),
    ],
)
def test_calls_are_counted_in_words(calls: dict[str, int], said: str) -> None:
    assert said in notes({**summary({}), "calls": calls})


def test_each_kind_of_unresolved_episode_is_counted_over_all_data_sets() -> None:
    kinds = {"budget": 1, "judge_failed": 2, "failed": 3, "truncated": 4, "refused": 5}
    found = summary({"ROD": entry(20, 50, 1, **kinds), "QD": {**entry(20, 50, 1, failed=10), "n": 26}})
    assert notes(found)[4] == (
        "31 of 46 episodes unresolved: 5 refused, 4 truncated, 13 failed, 2 without a verdict,"
        " 1 stopped by the budget, 6 not run"
    )


# Open-ended runs


def open_entry(n: int, judged: int, acc: float, ps: float, agg: float, **unresolved: int) -> Entry:
    found: Entry = {"n": n, "resolved": n - sum(unresolved.values()), "judged": judged}
    for name, value in (("acc", acc), ("ps", ps), ("agg", agg)):
        found |= {name: value, f"{name}_ci": [value * 0.8, min(value * 1.2, 100.0)]}
        found |= {f"{name}_bounds": [value * judged / n, (value * judged + 100 * (n - judged)) / n]}
    official = {name: found[f"{name}_bounds"][0] for name in ("acc", "ps", "agg")}
    return {**found, "official": official, "outcomes": {"resolved": found["resolved"], **unresolved}}


OPEN = summary(
    {
        "ROD": open_entry(88, 88, 0.0, 12.5, 12.5),
        "QD": open_entry(100, 90, 40.0, 100.0, 100.0, judge_failed=7, refused=3),
    },
    {**open_entry(188, 178, 20.0, 56.25, 56.25), "over": ["ROD", "QD"]},
)


def test_an_open_ended_run_has_three_shares_and_the_packages_own_figures() -> None:
    assert rendered(OPEN) == OPEN_TABLE
    assert plain(parts(OPEN)).splitlines()[0].split("  ")[0] == "data set"
    assert all(len(line) <= 80 for line in rendered(OPEN).splitlines())


def test_answers_that_nobody_judged_are_pointed_out() -> None:
    unjudged = dict.fromkeys([key for name in ("acc", "ps", "agg") for key in (name, f"{name}_ci")])
    entry = {**open_entry(6, 0, 0, 0, 0), **unjudged}
    found = summary({"QD": entry}, {**entry, "over": []})
    assert plain(parts(found)).splitlines()[1].split() == ["QD", "0/6", "-", "-", "-"]
    assert "6 answers not judged: `pbclient judge` does it" in notes(found)
    assert "Average over nothing: none judged in QD" in notes(found)


def test_other_judges_are_named_with_how_far_they_agree() -> None:
    average = {"average": {"acc": 41.25, "ps": 55.0, "agg": 60.0}}
    whole = {
        **average,
        "n": 90,
        "raw": 93.333333,
        "raw_ci": [86, 97],
        "kappa": 0.85,
        "kappa_ci": [0.75, 0.95],
    }
    alike = {**whole, "kappa": None, "kappa_ci": None}
    nothing = {"n": 0, **dict.fromkeys(("raw", "raw_ci", "kappa", "kappa_ci"))}
    said = notes({**OPEN, "judges": {"one-1a": whole, "two-2b": alike, "three-3c": nothing}})
    assert said[2:5] == [
        "one-1a: acc 41.2, ps 55.0, agg 60.0; the same verdict on 93.3 % of 90 (kappa 0.85 [0.75, 0.95])",
        "two-2b: acc 41.2, ps 55.0, agg 60.0; the same verdict on 93.3 % of 90 (kappa -)",
        "three-3c judged none of the same answers",
    ]


def test_an_open_ended_run_in_which_nothing_happened_has_a_table() -> None:
    nothing = {name: None for name in open_entry(1, 1, 0, 0, 0)}
    found = summary({}, {**nothing, "official": dict.fromkeys(("acc", "ps", "agg")), "over": []})
    assert plain(parts(found)).splitlines()[1].split() == ["average", "0/0", "-", "-", "-"]
    assert "Official (without a verdict counts 0): -" in notes(found)


OPEN_TABLE = """\
data set   judged      acc % [95 % CI]       ps % [95 % CI]      agg % [95 % CI]
────────────────────────────────────────────────────────────────────────────────
ROD         88/88    0.0 [ 0.0,   0.0]   12.5 [10.0,  15.0]   12.5 [10.0,  15.0]
QD         90/100   40.0 [32.0,  48.0]  100.0 [80.0, 100.0]  100.0 [80.0, 100.0]

average   178/188   20.0 [16.0,  24.0]   56.2 [45.0,  67.5]   56.2 [45.0,  67.5]

Bounds over all episodes: acc [18.9,  24.3], ps [53.3,  58.6], agg [53.3,  58.6]
Official (without a verdict counts 0): acc 18.9, ps 53.3, agg 53.3
$0.00 settled, $0.00 held of $5.00; saved $0.00
0 calls, 123 hits, 0 retries
10 of 188 episodes unresolved: 3 refused, 7 without a verdict"""

WHOLE_TABLE = """\
data set     n  resolved      acc % [95 % CI]  bounds       ps [95 % CI]
────────────────────────────────────────────────────────────────────────
ROD         88        88   12.5 [ 7.5,  17.5]       -  0.70 [0.63, 0.77]
IN-C      2000      2000   98.0 [95.0, 100.0]       -  12.2 [11.0, 13.5]

average   2088      2088   40.0 [35.0,  45.0]       -  0.50 [0.45, 0.55]

Turns %: proactive 34.6, abstain 10.0, category 55.0, none 0.4
Episodes %: right at the first turn 20.0, at the step limit 3.1
$0.00 settled, $0.00 held of $5.00; saved $0.31
0 calls, 123 hits, 0 retries"""

PARTIAL_TABLE = """\
data set     n  resolved      acc % [95 % CI]         bounds       ps [95 % CI]
───────────────────────────────────────────────────────────────────────────────
ROD         88        84   12.5 [ 7.5,  17.5]  [11.9,  16.5]  0.70 [0.63, 0.77]
IN-C      2000      2000   98.0 [95.0, 100.0]              -  12.2 [11.0, 13.5]
COCO        10         0                    -  [ 0.0, 100.0]                  -

average   2098      2084   55.2 [50.2,  60.2]  [36.7,  71.3]  6.47 [5.83, 7.12]

Turns %: proactive 34.6, abstain 10.0, category 55.0, none 0.4
Episodes %: right at the first turn 27.6, at the step limit 3.1
$1.24 settled, $0.0034 held of $5.00; saved $0.00
0 calls, 123 hits, 0 retries
14 of 2098 episodes unresolved: 3 refused, 1 without a verdict, 4 stopped by the
budget, 6 not run
Average over ROD, IN-C: none resolved in COCO"""

WHOLE_PLAIN = """\
data set     n  resolved      acc % [95 % CI]  bounds       ps [95 % CI]
ROD         88        88   12.5 [ 7.5,  17.5]       -  0.70 [0.63, 0.77]
IN-C      2000      2000   98.0 [95.0, 100.0]       -  12.2 [11.0, 13.5]
average   2088      2088   40.0 [35.0,  45.0]       -  0.50 [0.45, 0.55]

Turns %: proactive 34.6, abstain 10.0, category 55.0, none 0.4
Episodes %: right at the first turn 20.0, at the step limit 3.1
$0.00 settled, $0.00 held of $5.00; saved $0.31
0 calls, 123 hits, 0 retries"""

PARTIAL_PLAIN = """\
data set     n  resolved      acc % [95 % CI]         bounds       ps [95 % CI]
ROD         88        84   12.5 [ 7.5,  17.5]  [11.9,  16.5]  0.70 [0.63, 0.77]
IN-C      2000      2000   98.0 [95.0, 100.0]              -  12.2 [11.0, 13.5]
COCO        10         0                    -  [ 0.0, 100.0]                  -
average   2098      2084   55.2 [50.2,  60.2]  [36.7,  71.3]  6.47 [5.83, 7.12]

Turns %: proactive 34.6, abstain 10.0, category 55.0, none 0.4
Episodes %: right at the first turn 27.6, at the step limit 3.1
$1.24 settled, $0.0034 held of $5.00; saved $0.00
0 calls, 123 hits, 0 retries
14 of 2098 episodes unresolved: 3 refused, 1 without a verdict, 4 stopped by the budget, 6 not run
Average over ROD, IN-C: none resolved in COCO"""
