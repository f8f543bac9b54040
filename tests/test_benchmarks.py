"""The benchmarks run, and nothing is far off: `benchmarks/` has the figures of full size."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_memory_stays_flat_and_the_loop_is_never_held_up():
    program = (sys.executable, BENCHMARKS / "memory.py", "--episodes", "100", "--concurrency", "32", "--json")
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    first, again = json.loads(done.stdout)
    assert (first["calls"], first["hits"]) == (200, 0)
    assert (again["calls"], again["hits"]) == (0, 200)
    assert max(first["growth_mb"], again["growth_mb"]) < 50
    # LiteLLM's import, which takes seconds, holds the loop up no more than the calls do.
    assert max(run[name] for run in (first, again) for name in ("stall_ms", "start_stall_ms")) < 1000
