"""Charts as inline SVG, drawn by four small functions.

Colours and type come from the page's style by class, so that a chart follows its theme and is printed
dark on white. Each has a title and a description; each mark says its value when pointed at.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

WIDTH = 460  # of the drawing, in its own units; the page scales it
COLOURS = 8  # classes c0 to c7 of the style
_ROW, _BAR, _HEIGHT = 24, 13, 210
_TOP, _BOTTOM, _RIGHT, _LEFT = 8, 26, 14, 44
_LETTER = 7.2  # width of one, nearly

type Interval = Sequence[float]
type Value = tuple[float, Interval | None]
type Shown = Callable[[float], str]


@dataclass(frozen=True)
class Series:
    """One run's values, None where it has none. `published` ones are drawn hollow, as not measured here."""

    name: str
    values: Sequence[Value | None]
    published: bool = False


@dataclass(frozen=True)
class Chart:
    """A drawing, what it is of, and the names of its colours by class."""

    svg: Markup
    caption: str
    legend: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class _Scale:
    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return self.start + min(max(share, 0.0), 1.0) * (self.end - self.start)

    def ticks(self) -> Iterator[float]:
        step = _step(self.high - self.low)
        first = math.ceil(self.low / step - 1e-9)
        yield from (number * step for number in range(first, math.floor(self.high / step + 1e-9) + 1))


def intervals(
    title: str,
    rows: Sequence[str],
    series: Sequence[Series],
    *,
    shown: Shown = "{:.1f}".format,
    limits: tuple[float, float] | None = None,
    zero: bool = False,
    caption: str = "",
) -> Chart:
    """A row a thing, a dot a series with its interval; with `zero` a line where two runs are the same."""
    left = 12 + _LETTER * max(map(len, rows), default=0)
    alone = [shown(value[0]) for value in series[0].values if value] if len(series) == 1 else []
    right = _RIGHT + _LETTER * max(map(len, alone), default=0)
    scale = _Scale(*(limits or _span(series)), left, WIDTH - right)
    height = max(_ROW, 10 * len(series) + 12)
    bottom = _TOP + height * len(rows)
    parts = [_vertical(scale, bottom)]
    if zero:
        parts.append(_line(scale(0), _TOP, scale(0), bottom, "zero"))
    for number, row in enumerate(rows):
        middle = _TOP + height * (number + 0.5)
        parts.append(_text(left - 8, middle + 4, row, "label end"))
        for index, one in enumerate(series):
            value = one.values[number]
            if value is None:
                continue
            y = middle + (index - (len(series) - 1) / 2) * 10
            parts.append(_dot(scale, value, y, _colour(index), one, row, shown))
            if alone:
                parts.append(_text(WIDTH - 4, middle + 4, shown(value[0]), "value end"))
    said = _said(rows, series, shown)
    return Chart(_svg(title, said, bottom + _BOTTOM, parts), caption or title, _legend(series))


def stacked(
    title: str, rows: Mapping[str, Sequence[float]], parts: Sequence[tuple[str, str]], *, caption: str = ""
) -> Chart:
    """Bars of 100 %, split into the `parts`, given as (class, name)."""
    left = 12 + _LETTER * max(map(len, rows), default=0)
    scale = _Scale(0, 100, left, WIDTH - _RIGHT)
    bottom = _TOP + _ROW * len(rows)
    drawn = [_vertical(scale, bottom)]
    said = []
    for number, (row, shares) in enumerate(rows.items()):
        y, at = _TOP + _ROW * number + (_ROW - _BAR) / 2, 0.0
        drawn.append(_text(left - 8, y + _BAR - 2, row, "label end"))
        for (colour, name), share in zip(parts, shares, strict=True):
            x, width = scale(at), scale(at + share) - scale(at)
            drawn.append(_rect(x, y, width, _BAR, colour, f"{row}: {name} {share:.1f} %"))
            at += share
        values = ", ".join(f"{name} {share:.1f} %" for (_, name), share in zip(parts, shares, strict=True))
        said.append(f"{row}: {values}.")
    return Chart(_svg(title, " ".join(said), bottom + _BOTTOM, drawn), caption or title, parts)


def columns(title: str, places: Sequence[str], series: Sequence[Series], *, caption: str = "") -> Chart:
    """Columns from zero, one beside the other for each series at each place."""
    upright = _Upright.over(places, (0, _span(series)[1]))
    width = min(upright.room * 0.8 / max(len(series), 1), 34)
    drawn = [upright.axes()]
    for index, one in enumerate(series):
        for number, (place, value) in enumerate(zip(places, one.values, strict=True)):
            if value is not None:
                x, top = upright.x(number) + (index - len(series) / 2) * width, upright.scale(value[0])
                words = f"{_of(one, place)}: {value[0]:,.0f}"
                size = max(width - 1, 0.8), upright.scale.start - top
                drawn.append(_rect(x, top, *size, _colour(index), words))
    said = _said(places, series, "{:,.0f}".format)
    return Chart(_svg(title, said, _HEIGHT, drawn), caption or title, _legend(series))


def lines(
    title: str,
    places: Sequence[str],
    series: Sequence[Series],
    *,
    limits: tuple[float, float] = (0, 100),
    caption: str = "",
) -> Chart:
    """A line a series over the places, with an interval at each."""
    upright = _Upright.over(places, limits)
    drawn = [upright.axes()]
    for index, one in enumerate(series):
        aside = (index - (len(series) - 1) / 2) * min(6, upright.room / (len(series) + 1))
        points = []
        for number, (place, value) in enumerate(zip(places, one.values, strict=True)):
            if value is not None:
                x, y = upright.x(number) + aside, upright.scale(value[0])
                points.append(f"{x:.1f},{y:.1f}")
                if value[1] is not None:
                    low, high = map(upright.scale, value[1])
                    drawn.append(_line(x, low, x, high, f"whisker {_colour(index)}"))
                words = f"{_of(one, place)}: {_figure(value, '{:.1f}'.format)}"
                drawn.append(_mark(x, y, _colour(index), one.published, words))
        path = Markup('<polyline class="path {}" points="{}"/>')
        drawn.append(path.format(_colour(index), " ".join(points)))
    said = _said(places, series, "{:.1f}".format)
    return Chart(_svg(title, said, _HEIGHT, drawn), caption or title, _legend(series))


@dataclass(frozen=True)
class _Upright:
    """A drawing whose values run up, over places from left to right that have so much `room` each."""

    places: Sequence[str]
    scale: _Scale
    room: float

    @classmethod
    def over(cls, places: Sequence[str], limits: tuple[float, float]) -> _Upright:
        room = (WIDTH - _RIGHT - _LEFT) / max(len(places), 1)
        return cls(places, _Scale(*limits, _HEIGHT - _BOTTOM, _TOP), room)

    def x(self, number: int) -> float:
        return _LEFT + self.room * (number + 0.5)

    def axes(self) -> Markup:
        drawn = [
            _text(self.x(number), _HEIGHT - 8, place, "tick middle")
            for number, place in enumerate(self.places)
        ]
        for tick in self.scale.ticks():
            y = self.scale(tick)
            drawn += [
                _line(_LEFT, y, WIDTH - _RIGHT, y, "grid"),
                _text(_LEFT - 8, y + 4, f"{tick:,g}", "tick end"),
            ]
        return Markup("").join(drawn)


def _svg(title: str, description: str, height: float, parts: Iterable[Markup]) -> Markup:
    return Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}"><desc>{}</desc>{}</svg>').format(
        WIDTH, f"{height:.0f}", title, description, Markup("").join(parts)
    )


def _vertical(scale: _Scale, bottom: float) -> Markup:
    """The lines and numbers of a scale that runs to the right."""
    drawn = []
    for tick in scale.ticks():
        x = scale(tick)
        drawn += [_line(x, _TOP, x, bottom, "grid"), _text(x, bottom + 16, f"{tick:g}", "tick middle")]
    return Markup("").join(drawn)


def _dot(
    scale: _Scale, value: Value, y: float, colour: str, series: Series, row: str, shown: Shown
) -> Markup:
    whisker = Markup("")
    if value[1] is not None:
        low, high = map(scale, value[1])
        whisker = _line(low, y, high, y, f"whisker {colour}")
    words = f"{_of(series, row)}: {_figure(value, shown)}"
    return whisker + _mark(scale(value[0]), y, colour, series.published, words)


def _mark(x: float, y: float, colour: str, hollow: bool, words: str) -> Markup:
    kind = "hollow" if hollow else "dot"
    return Markup('<circle class="{} {}" cx="{}" cy="{}" r="4"><title>{}</title></circle>').format(
        kind, colour, f"{x:.1f}", f"{y:.1f}", words
    )


def _rect(x: float, y: float, width: float, height: float, colour: str, words: str) -> Markup:
    sizes = [f"{size:.1f}" for size in (x, y, width, height)]
    shape = Markup('<rect class="bar {}" x="{}" y="{}" width="{}" height="{}"><title>{}</title></rect>')
    return shape.format(colour, *sizes, words)


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    places = [f"{place:.1f}" for place in (x1, y1, x2, y2)]
    return Markup('<line class="{}" x1="{}" y1="{}" x2="{}" y2="{}"/>').format(kind, *places)


def _text(x: float, y: float, text: str, kind: str) -> Markup:
    return Markup('<text class="{}" x="{}" y="{}">{}</text>').format(kind, f"{x:.1f}", f"{y:.1f}", text)


def _colour(index: int) -> str:
    return f"c{index % COLOURS}"


def _legend(series: Sequence[Series]) -> list[tuple[str, str]]:
    if len(series) < 2:
        return []
    return [
        (f"{_colour(index)} hollow" if one.published else _colour(index), one.name)
        for index, one in enumerate(series)
    ]


def _of(series: Series, place: str) -> str:
    return f"{series.name}, {place}" if series.name else place


def _figure(value: Value, shown: Shown) -> str:
    if value[1] is None:
        return shown(value[0])
    return f"{shown(value[0])} [{shown(value[1][0])}, {shown(value[1][1])}]"


def _said(places: Sequence[str], series: Sequence[Series], shown: Shown) -> str:
    """All values in words, for those who hear the page."""
    told = []
    for one in series:
        values = zip(places, one.values, strict=True)
        said = ", ".join(f"{place} {_figure(value, shown)}" for place, value in values if value is not None)
        told.append(f"{one.name}: {said}." if one.name else f"{said}.")
    return " ".join(told)


def _span(series: Sequence[Series]) -> tuple[float, float]:
    """From 0 or the lowest limit to a round number above the highest."""
    values = [value for one in series for value in one.values if value is not None]
    ends = [end for value, interval in values for end in (value, *(interval or ()))]
    low, high = min(0.0, *ends, 0.0), max(0.0, *ends, 0.0)
    step = _step(high - low) if high > low else 1.0
    return math.floor(low / step + 1e-9) * step, max(math.ceil(high / step - 1e-9), 1) * step


def _step(span: float) -> float:
    """A round distance between ticks that makes about five of them."""
    size = 10.0 ** math.floor(math.log10(span / 4))
    return next(size * factor for factor in (1, 2, 2.5, 5, 10) if span / (size * factor) <= 5)
