"""What is free on this machine, inside of containers too."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from providers.host_memory import children, forget_peak, free_memory, peak_memory, processors

GIB = 1 << 30


@pytest.fixture
def machine(tmp_path) -> Path:
    """A machine with 8 GiB available."""
    path = tmp_path / "meminfo"
    path.write_text(f"MemTotal:  {16 << 20} kB\nMemAvailable:   {8 << 20} kB\n")
    return path


def group(folder: Path, **files: object) -> Path:
    for name, content in files.items():
        path = folder / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"{content}\n")
    return folder


def test_without_a_limit_it_is_what_the_machine_has(machine, tmp_path):
    assert free_memory(machine, tmp_path) == 8 * GIB
    unlimited = group(tmp_path, memory_dot_max="max", memory_dot_current=GIB)
    assert free_memory(machine, unlimited) == 8 * GIB


def test_a_container_has_less(machine, tmp_path):
    limited = group(
        tmp_path,
        memory_dot_max=4 * GIB,
        memory_dot_current=3 * GIB,
        memory_dot_stat=f"anon 5\ninactive_file {GIB}",
    )
    assert free_memory(machine, limited) == 2 * GIB


def test_an_older_container_has_less(machine, tmp_path):
    limited = group(
        tmp_path, memory__memory_dot_limit_in_bytes=GIB, memory__memory_dot_usage_in_bytes=2 * GIB
    )
    assert free_memory(machine, limited) == 0


def test_nobody_knows(tmp_path):
    assert free_memory(tmp_path / "none", tmp_path) is None


@pytest.mark.parametrize(
    ("quota", "most"), [("max 100000", None), ("150000 100000", 2), ("10000 100000", 1), ("nonsense", None)]
)
def test_processors_are_those_of_the_container(tmp_path, quota, most):
    ours = len(os.sched_getaffinity(0))
    assert processors(group(tmp_path, cpu_dot_max=quota)) == min(ours, most or ours)


def test_a_process_is_seen_with_its_children_and_its_peak():
    code = "import sys; print(flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout
        child.stdout.readline()
        assert child.pid in children(os.getpid())
        peak = peak_memory(child.pid)
        assert peak
        assert peak > 1 << 20
        child.communicate()
    assert children(child.pid) == []
    assert peak_memory(child.pid) is None


def test_a_peak_can_be_forgotten():
    taken = bytearray(b"1" * (64 << 20))
    before = peak_memory(os.getpid())
    assert before
    del taken
    forget_peak()
    after = peak_memory(os.getpid())
    assert after
    assert after < before - (32 << 20)
