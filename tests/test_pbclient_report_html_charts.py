"""Charts: whole XML whatever the values, every mark inside the drawing, every value told."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pbclient.report.html.charts import WIDTH, Chart, Series, columns, intervals, lines, stacked

numbers = st.floats(-1e6, 1e6).map(lambda value: round(value, 3))


@st.composite
def series(draw, least: float = -1e6) -> tuple[list[str], list[Series]]:
    rows = draw(st.lists(st.text(max_size=12), min_size=1, max_size=9))
    value = numbers.filter(lambda number: number >= least)
    spread = st.tuples(value, value).map(sorted)
    points = st.none() | st.tuples(value, st.none() | spread)
    some = st.lists(points, min_size=len(rows), max_size=len(rows))
    made = st.builds(Series, st.text(max_size=12), some, st.booleans())
    return rows, draw(st.lists(made, min_size=1, max_size=10))


def drawn(chart: Chart) -> ElementTree.Element:
    # What XML forbids, HTML replaces: a page shows it by code point.
    text = "".join(letter for letter in str(chart.svg) if letter.isprintable() or letter == " ")
    return ElementTree.fromstring(text)


def inside(svg: ElementTree.Element) -> bool:
    height = float(svg.attrib["viewBox"].split()[3])
    places = [(float(each.attrib["cx"]), float(each.attrib["cy"])) for each in svg.iter("circle")]
    places += [(float(each.attrib["x"]), float(each.attrib["y"])) for each in svg.iter("rect")]
    return all(0 <= x <= WIDTH and 0 <= y <= height for x, y in places)


@settings(max_examples=40)
@given(series())
def test_intervals_are_drawn_inside_whatever_they_are(of):
    rows, some = of
    svg = drawn(intervals("title", rows, some, zero=True))
    assert inside(svg)
    known = sum(value is not None for one in some for value in one.values)
    assert len(list(svg.iter("circle"))) == known


@settings(max_examples=40)
@given(series(least=0))
def test_columns_and_lines_are_drawn_inside_whatever_they_are(of):
    rows, some = of
    assert inside(drawn(columns("title", rows, some)))
    assert inside(drawn(lines("title", rows, some)))


def test_a_chart_says_what_it_shows():
    chart = intervals("Accuracy", ["ROD", "QD"], [Series("a", [(12.34, (10, 15)), None])])
    svg = drawn(chart)
    assert svg.attrib["aria-label"] == "Accuracy"
    assert svg.findtext("desc") == "a: ROD 12.3 [10.0, 15.0]."
    [mark] = svg.iter("circle")
    assert mark.findtext("title") == "a, ROD: 12.3 [10.0, 15.0]"


def test_what_is_published_is_hollow_and_has_its_name():
    chart = intervals(
        "ps", ["ROD"], [Series("run", [(1, None)]), Series("paper", [(2, None)], published=True)]
    )
    kinds = [mark.attrib["class"] for mark in drawn(chart).iter("circle")]
    assert kinds == ["dot c0", "hollow c1"]
    assert chart.legend == [("c0", "run"), ("c1 hollow", "paper")]


def test_shares_fill_a_bar():
    chart = stacked("turns", {"ROD": [25, 75], "QD": [100, 0]}, [("c0", "asked"), ("c1", "named")])
    bars = list(drawn(chart).iter("rect"))
    widths = [float(bar.attrib["width"]) for bar in bars]
    assert widths[0] + widths[1] == pytest.approx(widths[2] + widths[3], abs=0.2)
    assert bars[1].findtext("title") == "ROD: named 75.0 %"


def test_names_of_others_are_escaped():
    chart = intervals("<b>", ["</svg><script>"], [Series("<i>", [(1, None)])])
    assert "<script>" not in chart.svg
    assert "<b>" not in chart.svg
