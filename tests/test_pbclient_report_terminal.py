"""What is drawn on a terminal, and what is plain text: in a pipe, and where there is no room."""

from __future__ import annotations

import sys
from io import StringIO

import pytest
from test_pbclient_report_summary import WHOLE

from pbclient.report import summary as tables
from pbclient.report import terminal as grids
from pbclient.report.summary import print_summary
from pbclient.report.terminal import Grid, print_parts

PARTS = ["A paragraph that is longer than the table.", Grid(["run", "acc %"], [["A", "58.3*"], ["B", "9.1"]])]
NEEDED = len("run  acc %")


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def shown(
    monkeypatch: pytest.MonkeyPatch, columns: int, stream: StringIO, print_: object, *args: object
) -> str:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stdout", stream)
    assert callable(print_)
    print_(*args)
    return stream.getvalue()


@pytest.mark.parametrize(("columns", "drawn"), [(80, True), (NEEDED, True), (NEEDED - 1, False), (1, False)])
def test_tables_are_drawn_where_there_is_room_and_no_figure_is_broken(monkeypatch, columns, drawn):
    text = shown(monkeypatch, columns, Terminal(), print_parts, PARTS)
    assert ("─" in text) == drawn
    assert "58.3*" in text
    assert drawn or text == grids.plain(PARTS) + "\n"


def test_a_summary_without_room_is_plain_text(monkeypatch):
    assert "─" in shown(monkeypatch, 80, Terminal(), print_summary, WHOLE, False)
    assert shown(monkeypatch, 40, Terminal(), print_summary, WHOLE, False) == tables.plain(WHOLE) + "\n"


def test_a_pipe_gets_plain_text_however_wide(monkeypatch):
    assert shown(monkeypatch, 200, StringIO(), print_parts, PARTS) == grids.plain(PARTS) + "\n"
    assert shown(monkeypatch, 200, StringIO(), print_summary, WHOLE, False) == tables.plain(WHOLE) + "\n"
