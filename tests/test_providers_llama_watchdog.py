"""The watchdog: what it runs ends with who asked for it, however that one ends."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

WATCHDOG = Path(__file__).resolve().parent.parent / "providers" / "llama" / "watchdog.py"
# It says that it is there, and then lasts.
LASTING = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {LASTING}"


def watched(*command: str, **more: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-P", str(WATCHDOG), *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
        **more,  # type: ignore[call-overload]
    )


def wait_for_end(pid: int) -> None:
    """Return when the process has ended; who it belongs to makes no difference."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        readable, _, _ = select.select([fd], [], [], 60)
        assert readable, f"process {pid} is an orphan"
    finally:
        os.close(fd)


def first_number(stream) -> int:
    return int(stream.readline())


@pytest.mark.parametrize(("code", "status"), [("pass", 0), ("raise SystemExit(7)", 7)])
def test_the_status_is_the_commands(code, status):
    with watched(sys.executable, "-c", code) as dog:
        assert dog.wait(60) == status


def test_a_killed_command_shows_in_the_status():
    with watched(sys.executable, "-c", LASTING) as dog:
        os.kill(first_number(dog.stdout), signal.SIGKILL)
        assert dog.wait(60) == 128 + signal.SIGKILL


def test_the_command_ends_when_it_is_told_to():
    with watched(sys.executable, "-c", LASTING) as dog:
        pid = first_number(dog.stdout)
        dog.stdin.close()
        assert dog.wait(60) == 128 + signal.SIGTERM
        wait_for_end(pid)


def test_a_command_that_will_not_end_is_killed():
    impatient = (
        "import os, sys; from providers.llama import watchdog; watchdog.GRACE = 0.1; "
        "os._exit(watchdog.main(sys.argv[1:]))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", impatient, sys.executable, "-c", STUBBORN],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=WATCHDOG.parents[2],
    ) as dog:
        pid = first_number(dog.stdout)
        dog.stdin.close()
        assert dog.wait(60) == 128 + signal.SIGKILL
        wait_for_end(pid)


def test_it_cannot_be_ended_by_the_signals_of_a_terminal():
    with watched(sys.executable, "-c", LASTING) as dog:
        pid = first_number(dog.stdout)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(dog.pid, number)
        os.kill(pid, 0)
        dog.stdin.close()
        assert dog.wait(60) == 128 + signal.SIGTERM


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ties a process to its parent")
def test_the_command_ends_when_the_watchdog_is_killed():
    with watched(sys.executable, "-c", LASTING) as dog:
        pid = first_number(dog.stdout)
        dog.kill()
        wait_for_end(pid)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_the_command_ends_when_the_asker_is_killed(number):
    command = [sys.executable, "-P", str(WATCHDOG), sys.executable, "-c", LASTING]
    # Under `nohup` a hang-up is ignored by everything that is started from there.
    heard = (
        f"import signal; signal.signal({int(number)}, signal.SIG_DFL);" if number != signal.SIGKILL else ""
    )
    asker = f"{heard}import subprocess as s, time; s.Popen({command!r}, stdin=s.PIPE); time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", asker], stdout=subprocess.PIPE) as client:
        pid = first_number(client.stdout)
        client.send_signal(number)
        client.wait(60)
        wait_for_end(pid)
