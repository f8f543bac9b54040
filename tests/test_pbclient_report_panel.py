"""What people see of a running run: whole panels, as wide as a terminal and narrower."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from pbclient.progress import Activity, Progress, Tally
from pbclient.report.panel import Speed, panel, plain, render, status_line

SECONDS = 3_700.0


@pytest.fixture
def progress() -> Progress:
    """An hour into a run that has seen a bit of everything."""
    made = Progress(clock=lambda: SECONDS)
    made.datasets = {
        "ROD": Tally(planned=600, finished=300, resolved=297, correct=151, suggestions=402),
        "MVP-N": Tally(planned=1000, finished=1, resolved=1, correct=1, suggestions=0),
        "COCO": Tally(planned=40),
    }
    made.outcomes.update(resolved=298, refused=2, judge_failed=1)
    made.hits, made.retries, made.saved, made.started = 12, 3, 0.0417, 100.0
    made.money = lambda: (7.25, 0.0391, 25.0)
    made.wire = lambda: (1340, 16)
    for number, (sample, since, state) in enumerate(
        [
            ("ROD 17", 3_699.0, "starting"),
            ("MVP-N 120044", 3_610.0, "the model"),
            ("COCO 5", 3_695.0, "a retry in 12 s"),
            ("ROD 3", 3_699.5, "the provider's 3,000 requests/min"),
        ]
    ):
        made.active[number] = Activity(sample, since, state)
    return made


def drawn(progress: Progress, pace: Speed, width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, legacy_windows=False, color_system=None)
    console.print(render(progress, pace))
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_the_whole_panel_in_80_columns(progress):
    pace = Speed()
    began = Progress(clock=lambda: SECONDS - 30, active=dict(progress.active), money=lambda: (7.0, 0, 25.0))
    began.datasets = {"ROD": Tally(planned=1640, finished=286)}
    pace.note(began)
    assert drawn(progress, pace, 80) == [
        "ROD   ━━━━━━━━━━━━             300/600 acc  50.8 [45.2,  56.5]  ps 1.35",
        "MVP-N                           1/1000 acc 100.0 [20.7, 100.0]  ps 0.00",
        "COCO                              0/40",
        "301/1640 episodes in 1:00:00, about 44:38 left",
        "$7.25 spent · $0.0391 held of $25.00 · $0.50/min · ~$39.50 in all",
        "1340 calls · 12 hits (saved $0.0417) · 3 retries · 16 on the wire",
        "unresolved: 1 judge failed, 2 refused",
        "MVP-N 120044   1:30  waits for the model",
        "COCO 5         0:05  waits for a retry in 12 s",
        "ROD 17         0:01  starting",
    ]


def test_nothing_is_known_before_the_first_episode():
    assert drawn(Progress(), Speed(), 80) == [
        "0/0 episodes",
        "$0.00 spent · $0.00 held",
        "0 calls · 0 hits · 0 retries · 0 on the wire",
    ]


@pytest.mark.parametrize("width", [40, 60, 79])
def test_a_narrower_terminal_cuts_lines_and_never_wraps_them(progress, width):
    lines = drawn(progress, Speed(), width)
    assert len(lines) == len(drawn(progress, Speed(), 200)) == 10
    assert max(map(len, lines)) <= width
    assert lines[0].startswith("ROD ")
    assert [" 300/600 " in lines[0], " 1/1000 " in lines[1], "0/40" in lines[2]] == [True] * 3


def test_the_pace_is_that_of_the_last_minute_and_not_of_earlier_lives(progress):
    pace = Speed()
    idle = Progress(clock=lambda: 0.0, money=lambda: (0.0, 0.0, None))
    pace.note(idle)  # earlier lives are being counted: no episode runs yet
    assert pace.per_second() is None
    for second in range(0, 200, 10):
        progress.clock = lambda now=second: 1_000.0 + now
        progress.money = lambda now=second: (50.0 + max(0, now - 100) * 0.01, 0.0, None)
        progress.datasets["COCO"].finished = second // 10
        pace.note(progress)
    assert pace.per_second() == (pytest.approx(0.01), pytest.approx(0.1))


def test_a_pipe_gets_the_same_in_one_line(progress):
    assert status_line(progress, Speed()) == (
        "301/1640 episodes in 1:00:00 · $7.25 spent · $0.0391 held of $25.00 · ~$39.50 in all · "
        "1340 calls · 12 hits (saved $0.0417) · 3 retries · 16 on the wire · "
        "unresolved: 1 judge failed, 2 refused"
    )


class Gone(io.StringIO):
    """A pipe whose reader has left."""

    def write(self, text: str) -> int:
        raise BrokenPipeError(32, "Broken pipe")


def test_sentences_reach_the_stream_and_a_closed_pipe_stops_nothing(progress):
    stream = io.StringIO()
    with plain(progress, stream):
        progress.say("Limit: $5.00 [not markup] :key:")
    assert stream.getvalue() == "Limit: $5.00 [not markup] :key:\n"
    with plain(progress, Gone()):
        progress.say("nobody hears this")


def test_the_live_panel_passes_sentences_on_as_they_are_and_is_gone_afterwards(progress):
    stream = io.StringIO()
    with panel(progress, stream):
        progress.say("Limit: $5.00 [not markup] :key:")
    assert "Limit: $5.00 [not markup] :key:\n" in stream.getvalue()


@pytest.mark.parametrize(
    ("share", "seconds", "remedy", "said"),
    [
        (0.95, 12, "do that", True),
        (0.5, 12, "do that", False),
        (0.95, 5, "do that", False),
        (0.95, 12, "", False),
    ],
)
def test_a_run_that_waits_for_the_client_itself_names_the_remedy(share, seconds, remedy, said):
    clock = [0.0]
    progress = Progress(clock=lambda: clock[0], worked=lambda: share * clock[0], remedy=remedy)
    progress.plan({"ROD": 10})
    progress.active[0] = Activity("ROD 1")
    pace = Speed()
    for clock[0] in (0.0, float(seconds)):
        pace.note(progress)
    assert ("limits the run: do that" in status_line(progress, pace)) == said
