"""The benchmarks run, and nothing is far off: `benchmarks/` has the figures of full size.

Ratios within one run are checked, with much room for a loaded machine, and never times alone.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"

type Found = Any  # what a program prints, as JSON


def run(program: str, *options: str) -> str:
    command = (sys.executable, BENCHMARKS / f"{program}.py", *options)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def wire(found: Found) -> None:
    assert found.keys() == {"aiohttp", "Direct"}
    assert found["Direct"]["times"] < 2  # 0.9 when both have a core to themselves


def ceiling(found: Found) -> None:
    ours = found["pbclient, direct"]
    assert ours["times"] < 8  # 2.6
    assert ours["share"] > 0.5 * found["aiohttp"]["share"]  # 0.9


def rate(found: Found) -> None:
    ((ours,),) = (clients.values() for clients in found.values())
    assert ours["share"] > 0.5  # 0.95
    assert ours["refusals"] < 5  # 0


def cold(found: Found) -> None:
    assert found["calls"] > 200
    assert found["whole_us"] < 25 * found["bare_us"]  # 4.5, and more where the first calls weigh more


def warm(found: Found) -> None:
    assert found["hits"] > 2000
    assert found["us_a_hit"] < 25 * max(found["environments_us_a_hit"], 10)  # 8
    assert found["score_s"] < 2 * found["run_s"]


def memory(found: Found) -> None:
    first, again, longer = found["first run"], found["the same again"], found["ten times as long"]
    assert (first["calls"], first["hits"], again["calls"], again["hits"]) == (200, 0, 0, 200)
    assert longer["calls"] == 2000
    assert longer["peak_mb"] < 1.25 * first["peak_mb"]
    assert again["cpu_ms_per_turn"] < 0.5 * first["cpu_ms_per_turn"]


def resume(found: Found) -> None:
    assert found["kept"] == found["episodes"] // 2 > 1400
    assert found["processor_s"] < 2 * found["anew_processor_s"]  # 1.2


def startup(found: Found) -> None:
    (first,) = (seconds for name, seconds in found.items() if name.startswith("run of"))
    again = found["the same run again"]
    assert again < 0.7 * first  # LiteLLM, which takes seconds, is not imported
    assert found["import pbclient"] < found["pbclient --help"] < again


CHECKS: dict[str, Callable[[Found], None]] = {
    each.__name__: each for each in (wire, ceiling, rate, cold, warm, memory, resume, startup)
}


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
@pytest.mark.parametrize("program", CHECKS)
def test_nothing_is_far_off(program):
    # What is far off is so every time; what only a busy host has held up for a while is not.
    for tries_left in (2, 1, 0):
        found = json.loads(run("everything", "--light", "--json", "--only", program))[program]
        try:
            CHECKS[program](found)
        except AssertionError:
            if not tries_left:
                raise
        else:
            break


@pytest.mark.slow
def test_all_of_them_make_one_page():
    page = run("everything", "--light", "--only", "wire")
    machine, question, table = page.strip().split("\n\n")
    assert "proactivebench-client" in machine
    assert question.startswith("**")
    assert table.startswith("| |")


def test_every_light_program_is_checked(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from everything import PROGRAMS

    assert {each.name for each in PROGRAMS if each.light is not None} == {*CHECKS}
    assert all((BENCHMARKS / f"{each.name}.py").is_file() for each in PROGRAMS)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_memory_stays_flat_through_litellm_and_the_loop_is_never_held_up():
    first, again = json.loads(
        run("memory", "--episodes", "100", "--concurrency", "32", "--wire", "litellm", "--json")
    ).values()
    assert (first["calls"], first["hits"]) == (200, 0)
    assert (again["calls"], again["hits"]) == (0, 200)
    assert max(each["growth_mb"] for each in (first, again)) < 50
    # LiteLLM's import, which takes seconds, holds the loop up no more than the calls do.
    assert max(each[name] for each in (first, again) for name in ("stall_ms", "start_stall_ms")) < 1000
