"""The direct wire adds little to aiohttp: `benchmarks/wire.py` has the figures of full size."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.mark.slow
def test_the_direct_wire_costs_no_more_than_aiohttp_used_plainly():
    program = (sys.executable, BENCHMARKS / "wire.py", "--calls", "300", "--rounds", "5")
    done = subprocess.run(
        [*program, "--only", "Direct", "--json"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures.keys() == {"aiohttp", "Direct"}
    # 0.7 of it when both have a core to themselves.
    assert figures["Direct"]["times"] < 2
