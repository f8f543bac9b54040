"""How much memory this machine has free, and how many processors we may use, containers included."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def free_memory(meminfo: Path = Path("/proc/meminfo"), cgroup: Path = _CGROUP) -> int | None:
    """Bytes that a new process can take without swapping; None where the system does not say."""
    available = _field(meminfo, "MemAvailable:")
    free = [] if available is None else [available << 10]
    # Version 2 first, then version 1. What only caches files is given back when it is needed.
    for most, used, cached in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "total_inactive_file"),
    ):
        limit, taken = _field(cgroup / most), _field(cgroup / used)
        if limit is not None and taken is not None:
            cache = _field((cgroup / used).with_name("memory.stat"), cached) or 0
            free.append(max(0, limit - taken + cache))
    return min(free, default=None)


def processors(cgroup: Path = _CGROUP) -> int:
    """How many processors this process may keep busy, at least 1."""
    usable = os.cpu_count() or 1
    with suppress(AttributeError):  # not on every system
        usable = len(os.sched_getaffinity(0))
    with suppress(OSError, ValueError):
        quota, period = map(int, (cgroup / "cpu.max").read_text().split())
        usable = min(usable, round(quota / period))
    return max(1, usable)


def peak_memory(pid: int) -> int | None:
    """The most bytes that a running process has held at once; None when it cannot be seen."""
    kilobytes = _field(Path(f"/proc/{pid}/status"), "VmHWM:")
    return None if kilobytes is None else kilobytes << 10


def forget_peak() -> None:
    """Let `peak_memory` of this process begin anew where the system can (man 5 proc: clear_refs)."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def children(pid: int) -> list[int]:
    """The processes that a process has started and that still run."""
    with suppress(OSError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def _field(path: Path, name: str = "") -> int | None:
    """The number behind a name at the start of a line, or the first of the file; None where there is none."""
    with suppress(OSError):
        line = re.search(rf"^{name}\s*(\d+)", path.read_text(), re.MULTILINE)
        return int(line[1]) if line else None
    return None
