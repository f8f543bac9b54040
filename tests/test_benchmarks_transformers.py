"""The batching benchmark runs: the same answers as the benchmark's own loop, and sooner."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the extra transformers is not installed")
pytest.importorskip("transformers", reason="the extra transformers is not installed")

PROGRAM = Path(__file__).parents[1] / "benchmarks" / "transformers_batching.py"


@pytest.mark.slow
def test_batches_give_the_answers_of_the_example_loop_and_sooner():
    program = (sys.executable, PROGRAM, "--episodes", "2", "--json")
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    asked = figures["same answers"].partition(" of ")
    assert asked[0] == asked[2]
    assert figures["ratio"] > 1
