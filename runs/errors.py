"""Everything that can go wrong with a run folder, named by what its owner should do about it.

Each message is one sentence that names the file and the fix.
"""

from __future__ import annotations


class RunError(Exception):
    """Base of all errors of this package."""


class NotARun(RunError):
    """A file, a folder of other things, or nothing where a run folder was named."""


class ConfigDiffers(RunError):
    """The folder holds a run of another configuration or of other data.

    `options` are the names that differ; "data" among them means the data themselves.
    """

    def __init__(self, message: str, options: tuple[str, ...]) -> None:
        super().__init__(message)
        self.options = options


class RunBusy(RunError):
    """Another process holds the folder's lock; `pid` is that process, where it is known."""

    def __init__(self, message: str, pid: int | None) -> None:
        super().__init__(message)
        self.pid = pid


class RunTooNew(RunError):
    """A file of the run says something that this version does not know yet."""


class RunBroken(RunError):
    """A file of the run is not what was written there."""


class StorageFailed(RunError):
    """Reading, writing or locking failed: a full disk, missing rights, a lost device."""
