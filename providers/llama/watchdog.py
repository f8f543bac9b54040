"""Run one command that must not outlive the process which asked for it: a program, not a module.

    python -P providers/llama/watchdog.py COMMAND ...

The asker holds the other end of our stdin and never writes to it. When it closes, because it was
told to or because the asker is gone however it ended, the command is asked to end and then made to.
Should we be killed ourselves, Linux kills the command with us. Our exit status is the command's, or
128 and the signal that killed it. Only the standard library is used, since this starts with a model.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress

GRACE = 5.0  # seconds between being asked to end and being killed
_PR_SET_PDEATHSIG = 1


def main(command: list[str]) -> int:
    """Run the command to its end, or to that of the asker; returns its status."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # Whoever ends a whole process group means the asker, who tells us when it is time.
        signal.signal(ignored, signal.SIG_IGN)
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=_tied_to_us)
    threading.Thread(target=_end_with_asker, args=(child,), daemon=True).start()
    status = child.wait()
    return 128 - status if status < 0 else status


def _tied_to_us() -> None:
    for restored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(restored, signal.SIG_DFL)
    # Only Linux has it: elsewhere our own death by SIGKILL would leave an orphan. The signal comes when
    # the thread that forked ends, and that is our main thread.
    with suppress(AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _end_with_asker(child: subprocess.Popen[bytes]) -> None:
    os.read(0, 1)
    child.terminate()
    try:
        child.wait(GRACE)
    except subprocess.TimeoutExpired:
        child.kill()


if __name__ == "__main__":
    # Not by way of the interpreter's own end, which would wait for the thread that waits.
    os._exit(main(sys.argv[1:]))
