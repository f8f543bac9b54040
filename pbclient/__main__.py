"""The command line as a process: Ctrl-C is one word and 130 from the first import to the last line."""

from __future__ import annotations

import os
import signal
import sys


def main() -> None:
    """`pbclient`, and `python -m pbclient`."""
    try:
        from pbclient.cli.app import main as command

        command()
    except KeyboardInterrupt:
        os.write(2, b"Stopped.\n")  # nothing more may have to be loaded
        sys.exit(130)
    finally:
        # The exit code is decided: a Ctrl-C that meets the interpreter's end would put another in its place.
        signal.signal(signal.SIGINT, signal.SIG_IGN)


if __name__ == "__main__":
    main()
