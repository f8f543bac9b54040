"""What is drawn on a terminal, what is plain text, and that no text takes a terminal over."""

from __future__ import annotations

import ast
import os
import pty
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO, StringIO, TextIOWrapper
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from loopback_faults import Ask, Fault, LoopbackServer, LoopbackThread
from test_pbclient_report_summary import WHOLE

from pbclient.cli.app import main
from pbclient.progress import Activity, Progress, Tally
from pbclient.report.panel import Speed, panel, render
from pbclient.report.panel import plain as lines
from pbclient.report.summary import parts, print_summary
from pbclient.report.terminal import Grid, console, fitting, plain, show, visible

ROOT = Path(__file__).resolve().parent.parent
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


# What would take a terminal over, hide itself or turn a line round: a title, colours, a cleared screen,
# C1's CSI, a carriage return, DEL, bidi controls, a zero width space, a tag, a link of rich's markup.
HOSTILE = "\x1b]0;owned\x07\x1b[31m\x1b[2J\x9b1m\r\x7f\u202eevil\u2066\u200b\U000e0041[link=http://x]y[/link]"
HOSTILE_NAME = "\x1b[31m\u202e\x7f[red]x[bold]"
OBEYED = ("Cc", "Cf", "Cs", "Zl", "Zp")


def obeyed(text: str) -> list[str]:
    """The characters of `text` that a terminal would obey or hide."""
    return [c for c in text if unicodedata.category(c) in OBEYED and c not in "\n\t"]


def test_every_character_that_a_terminal_obeys_or_hides_is_spelled_out():
    everything = "".join(map(chr, range(sys.maxunicode + 1)))
    assert obeyed(visible(everything)) == []
    hidden = "\u034f\u115f\u1160\u17b4\u180b\u3164\ufe0f\uffa0\U000e0100\ufffe"
    assert visible(hidden) == hidden.encode("unicode_escape").decode()
    assert visible("\x1b[31m\x9b\u202e\udc80") == r"\x1b[31m\x9b\u202e\udc80"


@given(st.text())
def test_what_is_visible_stays_as_it_is(text):
    assert visible(visible(text)) == visible(text)
    letters = "".join(c for c in text if unicodedata.category(c)[0] in "LMNPS" and c.isprintable())
    assert visible(letters) == letters or any(c in letters for c in "\u115f\u1160\u3164\uffa0")


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [
        ("ascii", r"-- | 5 ~ \xe9 \u4e2d"),
        ("latin-1", "-- | 5 ~ é \\u4e2d"),
        ("utf-8", "── · 5 … é 中"),
        (None, "── · 5 … é 中"),
    ],
)
def test_a_stream_gets_what_it_can_take(encoding, expected):
    stream = StringIO() if encoding is None else TextIOWrapper(BytesIO(), encoding=encoding)
    assert fitting("── · 5 … é 中", stream) == expected


def test_a_terminal_of_ascii_alone_gets_ascii(monkeypatch):
    monkeypatch.setenv("LC_ALL", "C")
    assert fitting("─", Terminal()) == "-"
    assert fitting("─", StringIO()) == "─"


CLOSED = StringIO()
CLOSED.close()


class Gone(StringIO):
    """Whoever read here has left."""

    def write(self, text: str) -> int:
        raise BrokenPipeError(32, "Broken pipe")

    def flush(self) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("stream", [Gone(), CLOSED, None], ids=["gone", "closed", "none"])
def test_a_run_is_not_lost_to_a_reader_who_leaves(stream, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    progress = Progress()
    for watched in (panel, lines):
        with watched(progress, stream):
            progress.say("still there")


def test_a_panel_shows_hostile_names_and_sentences(monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    stream = StringIO()
    drawn = console(stream)
    progress = Progress()
    progress.datasets = {HOSTILE_NAME: Tally(planned=2, finished=1, resolved=1, correct=1)}
    progress.active[1] = Activity(HOSTILE, 0.0, HOSTILE)
    progress.limited = lambda: HOSTILE
    drawn.print(render(progress, Speed()))
    with lines(progress, stream):
        progress.say(HOSTILE)
    assert obeyed(stream.getvalue()) == []
    assert "[red]x[bold]" in stream.getvalue()
    assert r"\x1b]0;owned\x07" in stream.getvalue()


def test_a_table_holds_its_rows_whatever_a_cell_says():
    [heading, row] = plain([Grid(["run", "n"], [["a\nb\x1b[2J", "1"]])]).splitlines()
    assert row == r"a\nb\x1b[2J  1"
    assert heading.endswith(" n")


def prints(source: str) -> list[int]:
    """The lines that print past the edge."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            past = ("print", "click.echo", "click.secho", "Console", "sys.stdout.write", "sys.stderr.write")
            found += [node.lineno] if name in past else []
    return found


def test_nothing_prints_but_at_the_edge():
    files = [
        path
        for package in ("pbclient", "providers", "cache", "runs")
        for path in (ROOT / package).rglob("*.py")
    ]
    past = {path.name: prints(path.read_text(encoding="utf-8")) for path in files}
    past.pop("terminal.py")
    assert {name: lines for name, lines in past.items() if lines} == {}
    assert prints("import click\nclick.echo('x')\nprint(1)\n") == [2, 3]


@pytest.fixture(scope="module")
def hostile(samples, tmp_path_factory) -> Iterator[tuple[Path, list[str]]]:
    """A run whose folder, model, answers and errors are attacks, and the options that made it."""
    folder = tmp_path_factory.mktemp("hostile")

    def faults(ask: Ask, attempt: int) -> Fault | None:
        return Fault("bad_request", message=HOSTILE) if "QD" not in seen and not seen.add("QD") else None

    seen: set[str] = set()
    with LoopbackThread(LoopbackServer(lambda ask: HOSTILE, faults=faults)) as server:
        options = [
            "--provider",
            "openai",
            "--model",
            f"m{HOSTILE}",
            "--base-url",
            server.url,
            "--wire",
            "direct",
        ]
        options += ["--price", "1,2", "--data", str(samples), "--dataset", "QD", "--limit", "2"]
        options += ["--cache-dir", str(folder / f"cache{HOSTILE_NAME}")]
        yield folder, options


def test_no_command_lets_hostile_text_at_a_terminal(hostile, monkeypatch):
    folder, options = hostile
    monkeypatch.setenv("OPENAI_API_KEY", "sk-fake-1234567890")
    run, other = folder / f"run{HOSTILE_NAME}", folder / f"other{HOSTILE_NAME}"
    cache = ["--cache-dir", options[-1]]
    commands: list[tuple[int, list[str]]] = [
        (4, ["run", *options, "--out", str(run)]),
        (0, ["run", *options, "--out", str(other)]),
        (0, ["score", str(run)]),
        (0, ["score", str(run), "--json"]),
        (0, ["score", str(run), "--reward"]),
        (0, ["compare", str(run), str(other), "--flips"]),
        (0, ["filter", str(run), str(other), "--out", str(folder / f"kept{HOSTILE_NAME}.json")]),
        (2, ["judge", str(run), "--provider", HOSTILE]),
        (0, ["cache", "why", str(run), *cache]),
        (0, ["cache", "stats", *cache]),
        (2, ["cache", "why", HOSTILE, *cache]),
        (2, ["score", HOSTILE]),
        (2, ["estimate", *options[2:], "--provider", HOSTILE]),
        (0, ["estimate", *options]),
        (2, ["run", *options, "--data", HOSTILE]),
        (2, ["run", *options, "--param", HOSTILE]),
        (2, ["run", *options, "--limit", HOSTILE]),
        (2, ["run", *options, f"--{HOSTILE}"]),
        (2, ["run", HOSTILE]),
        (2, [HOSTILE]),
        (0, ["doctor", *options[:6], "--price", "1,2"]),
        (0, ["data", "sample", str(folder / f"data{HOSTILE_NAME}")]),
        (0, ["data", "check", str(folder / f"data{HOSTILE_NAME}")]),
        (2, ["data", "check", HOSTILE_NAME]),
    ]  # fmt: skip
    for code, words in commands:
        result = CliRunner().invoke(main, words)
        assert obeyed(result.output) == [], (words, result.output)
        assert result.exit_code == code, (words, result.output, result.exception)


def on_a_terminal(words: list[str], **variables: str) -> tuple[int, bytes]:
    """The exit code of a command whose three streams are a terminal of its own, and what it wrote there."""
    keeper, terminal = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "40", **variables}
    process = subprocess.Popen(
        [sys.executable, "-m", "pbclient", *words],
        stdin=terminal, stdout=terminal, stderr=terminal, env=environment, cwd=ROOT, start_new_session=True,
    )  # fmt: skip
    os.close(terminal)
    written = b""
    with suppress(OSError):  # EIO: the other end is closed
        while chunk := os.read(keeper, 1 << 16):
            written += chunk
    os.close(keeper)
    return process.wait(), written


@pytest.mark.slow
@pytest.mark.parametrize(
    "variables", [{"LC_ALL": "C"}, {"PYTHONIOENCODING": "ascii"}], ids=["LC_ALL", "PYTHONIOENCODING"]
)
def test_a_terminal_without_unicode_gets_panel_and_table_in_ascii(samples, tmp_path, variables):
    out = tmp_path / f"rün{HOSTILE_NAME}"
    words = ["run", "--provider", "baseline", "--data", str(samples), "--out", str(out)]
    code, written = on_a_terminal(words, **variables)
    assert code == 0, written
    assert written.isascii()
    assert b"spent | $0.00 held" in written  # the panel
    assert b"-----" in written  # the table's rule
    assert rb"\x1b[31m\u202e\x7f[red]x[bold]" in written
    assert b"\x1b[31m\\u" not in written
