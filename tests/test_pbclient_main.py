"""The command line as a process: Ctrl-C from its first import to its last line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

INTERRUPT = "import os, signal; os.kill(os.getpid(), signal.SIGINT)"


def ended(tmp_path: Path, *more: str, **files: str) -> tuple[int, str]:
    """Exit code and stderr of `python -m pbclient`, with these modules before all others."""
    for name, text in files.items():
        (tmp_path / f"{name}.py").write_text(text)
    root = Path(__file__).parent.parent
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(root)])}
    done = subprocess.run(
        [sys.executable, "-m", "pbclient", *more],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stderr


def test_ctrl_c_while_packages_are_imported(tmp_path):
    assert ended(tmp_path, "--version", click=INTERRUPT) == (130, "Stopped.\n")


def test_ctrl_c_at_the_interpreters_end_changes_no_exit_code(tmp_path):
    late = f"import atexit\natexit.register(lambda: exec({INTERRUPT!r}))"
    assert ended(tmp_path, "--version", sitecustomize=late) == (0, "")
