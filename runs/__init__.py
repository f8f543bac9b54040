"""One folder for each run: manifest, episodes, ledger. Knows nothing of models."""

from runs.episodes import Episode, Episodes, Identity, identity
from runs.errors import ConfigDiffers, NotARun, RunBroken, RunBusy, RunError, RunTooNew, StorageFailed
from runs.files import replace_file
from runs.folder import SCHEMA, RunFolder
from runs.ledger import Balance, Ledger

__all__ = [
    "SCHEMA",
    "Balance",
    "ConfigDiffers",
    "Episode",
    "Episodes",
    "Identity",
    "Ledger",
    "NotARun",
    "RunBroken",
    "RunBusy",
    "RunError",
    "RunFolder",
    "RunTooNew",
    "StorageFailed",
    "identity",
    "replace_file",
]
