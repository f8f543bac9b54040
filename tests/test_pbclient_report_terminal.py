"""What is drawn on a terminal, and what is plain text: in a pipe, and where there is no room."""

from __future__ import annotations

import sys
from io import StringIO

import pytest
from test_pbclient_report_summary import WHOLE

from pbclient.report.summary import parts, print_summary
from pbclient.report.terminal import Grid, plain, show

PARTS = ["A paragraph that is longer than the table.", Grid(["run", "acc %"], [["A", "58.3*"], ["B", "9.1"]])]
NEEDED = len("run  acc %")


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def printed(
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
    text = printed(monkeypatch, columns, Terminal(), show, *PARTS)
    assert ("─" in text) == drawn
    assert "58.3*" in text
    assert drawn or text == plain(PARTS) + "\n"


def test_a_summary_without_room_is_plain_text(monkeypatch):
    assert "─" in printed(monkeypatch, 80, Terminal(), print_summary, WHOLE, False)
    assert printed(monkeypatch, 40, Terminal(), print_summary, WHOLE, False) == plain(parts(WHOLE)) + "\n"


def test_a_pipe_gets_plain_text_however_wide(monkeypatch):
    assert printed(monkeypatch, 200, StringIO(), show, *PARTS) == plain(PARTS) + "\n"
    assert printed(monkeypatch, 200, StringIO(), print_summary, WHOLE, False) == plain(parts(WHOLE)) + "\n"


def test_a_paragraph_alone_is_not_wrapped_on_a_terminal(monkeypatch):
    assert (
        printed(monkeypatch, 20, Terminal(), show, '{"a": "as long as it is"}')
        == '{"a": "as long as it is"}\n'
    )


def test_columns_that_are_set_left_and_a_last_row_of_all_the_others():
    grid = Grid(["", "note", "n"], [["a", "one", "1"], ["total", "of all", "10"]], left=2, total=True)
    assert plain([grid]).splitlines() == ["       note     n", "a      one      1", "total  of all  10"]
