"""How a summary looks: whole outputs, in 80 columns, in narrower ones and in a pipe."""

from __future__ import annotations

import re
from io import StringIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from pbclient.tables import notes, plain, table

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


NOTHING: Entry = {"acc": None, "acc_ci": None, "ps": None, "ps_ci": None}
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
    console = Console(width=width, file=StringIO(), color_system=None)
    console.print(table(what))
    assert isinstance(console.file, StringIO)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines())


def test_the_table_of_a_finished_run() -> None:
    assert rendered(WHOLE) == WHOLE_TABLE


def test_the_table_of_a_run_with_unresolved_episodes() -> None:
    assert rendered(PARTIAL) == PARTIAL_TABLE


def test_the_plain_text_of_a_finished_run_keeps_the_column_of_bounds() -> None:
    assert plain(WHOLE) == WHOLE_PLAIN


def test_the_plain_text_of_a_run_with_unresolved_episodes() -> None:
    assert plain(PARTIAL) == PARTIAL_PLAIN


def test_a_run_in_which_nothing_happened_has_a_table() -> None:
    nothing = summary({}, {**NOTHING, "acc_bounds": None, "over": []})
    assert "average" in rendered(nothing)
    assert plain(nothing).splitlines()[1].split() == ["average", "0", "0", "-", "-", "-"]


def test_the_widest_table_fits_80_columns() -> None:
    # The whole benchmark ten times over, nearly all of it right, at the longest episodes there are.
    widest = entry(75570, 99.96, 13.0, spread=3.0, failed=75)
    lines = rendered(summary({"MVP-N": widest}, {**widest, "over": ["MVP-N"]})).splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert sum("[97.0, 100.0]" in line and "[11.7, 14.3]" in line for line in lines) == 2


def test_a_narrow_terminal_wraps_and_cuts_nothing() -> None:
    words = re.sub(r"[\s─]", "", plain(PARTIAL)).replace(";", "·")
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
    lines = plain(what).splitlines()
    assert plain(what).isascii()
    assert not plain(what).endswith("\n")
    grid = lines[: len(what["datasets"]) + 2]
    assert len({len(line) for line in grid}) == 1


@pytest.mark.parametrize(
    ("cost", "said"),
    [
        ({}, "$0.00 settled, $0.00 held of $5.00 · saved $0.00"),
        ({"limit": None}, "$0.00 settled, $0.00 held (no limit) · saved $0.00"),
        ({"limit": 0.0}, "$0.00 settled, $0.00 held of $0.00 · saved $0.00"),
        ({"settled": 0.01, "held": 12.0}, "$0.01 settled, $12.00 held of $5.00 · saved $0.00"),
        ({"settled": 0.0042, "held": 0.00001}, "$0.0042 settled, <$0.0001 held of $5.00 · saved $0.00"),
    ],
)
def test_money_never_rounds_to_nothing(cost: Entry, said: str) -> None:
    assert notes(summary({}, **cost))[0] == said


@pytest.mark.parametrize(
    ("calls", "said"),
    [
        ({"wire": 0, "hits": 0, "retries": 0}, "0 calls, 0 hits, 0 retries"),
        ({"wire": 1, "hits": 1, "retries": 1}, "1 call, 1 hit, 1 retry"),
        ({"wire": 1234, "hits": 2, "retries": 3}, "1234 calls, 2 hits, 3 retries"),
    ],
)
def test_calls_are_counted_in_words(calls: dict[str, int], said: str) -> None:
    assert notes({**summary({}), "calls": calls})[1] == said


def test_each_kind_of_unresolved_episode_is_counted_over_all_data_sets() -> None:
    kinds = {"budget": 1, "judge_failed": 2, "failed": 3, "truncated": 4, "refused": 5}
    found = summary({"ROD": entry(20, 50, 1, **kinds), "QD": {**entry(20, 50, 1, failed=10), "n": 26}})
    assert notes(found)[2] == (
        "31 of 46 episodes unresolved: 5 refused, 4 truncated, 13 failed, 2 without a verdict,"
        " 1 stopped by the budget, 6 not run"
    )


WHOLE_TABLE = """\
data set     n  resolved      acc % [95 % CI]       ps [95 % CI]
────────────────────────────────────────────────────────────────
ROD         88        88   12.5 [ 7.5,  17.5]  0.70 [0.63, 0.77]
IN-C      2000      2000   98.0 [95.0, 100.0]  12.2 [11.0, 13.5]

average   2088      2088   40.0 [35.0,  45.0]  0.50 [0.45, 0.55]

$0.00 settled, $0.00 held of $5.00 · saved $0.31
0 calls, 123 hits, 0 retries"""

PARTIAL_TABLE = """\
data set     n  resolved      acc % [95 % CI]         bounds       ps [95 % CI]
───────────────────────────────────────────────────────────────────────────────
ROD         88        84   12.5 [ 7.5,  17.5]  [11.9,  16.5]  0.70 [0.63, 0.77]
IN-C      2000      2000   98.0 [95.0, 100.0]              -  12.2 [11.0, 13.5]
COCO        10         0                    -  [ 0.0, 100.0]                  -

average   2098      2084   55.2 [50.2,  60.2]  [36.7,  71.3]  6.47 [5.83, 7.12]

$1.24 settled, $0.0034 held of $5.00 · saved $0.00
0 calls, 123 hits, 0 retries
14 of 2098 episodes unresolved: 3 refused, 1 without a verdict, 4 stopped by
the budget, 6 not run
Average over ROD, IN-C: none resolved in COCO"""

WHOLE_PLAIN = """\
data set     n  resolved      acc % [95 % CI]  bounds       ps [95 % CI]
ROD         88        88   12.5 [ 7.5,  17.5]       -  0.70 [0.63, 0.77]
IN-C      2000      2000   98.0 [95.0, 100.0]       -  12.2 [11.0, 13.5]
average   2088      2088   40.0 [35.0,  45.0]       -  0.50 [0.45, 0.55]

$0.00 settled, $0.00 held of $5.00; saved $0.31
0 calls, 123 hits, 0 retries"""

PARTIAL_PLAIN = """\
data set     n  resolved      acc % [95 % CI]         bounds       ps [95 % CI]
ROD         88        84   12.5 [ 7.5,  17.5]  [11.9,  16.5]  0.70 [0.63, 0.77]
IN-C      2000      2000   98.0 [95.0, 100.0]              -  12.2 [11.0, 13.5]
COCO        10         0                    -  [ 0.0, 100.0]                  -
average   2098      2084   55.2 [50.2,  60.2]  [36.7,  71.3]  6.47 [5.83, 7.12]

$1.24 settled, $0.0034 held of $5.00; saved $0.00
0 calls, 123 hits, 0 retries
14 of 2098 episodes unresolved: 3 refused, 1 without a verdict, 4 stopped by the budget, 6 not run
Average over ROD, IN-C: none resolved in COCO"""
