"""What this package raises. Each message is one sentence that names the thing and the fix.

PbclientError
|- InputError        the user's to mend: an option, a key, a file, a row (exit code 2)
|  `- DataError      the data folder or a row in it
|- FrameError        one frame cannot be shown: the episode fails, the run goes on
`- EnvironmentFailed the package's environment choked on a row or an answer: likewise
"""

from __future__ import annotations


class PbclientError(Exception):
    """Base of all errors of this package."""


class InputError(PbclientError):
    """Bad input: said in one sentence, exit code 2, nothing lost."""


class DataError(InputError):
    """The data folder, one of its files or one of its rows cannot be used."""


class FrameError(PbclientError):
    """A frame is missing, unreadable, outside the data folder or too large to show."""


class EnvironmentFailed(PbclientError):
    """The benchmark's environment could not be built from the row or did not take the answer."""
