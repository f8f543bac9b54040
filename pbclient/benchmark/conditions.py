"""Which of the paper's conditions a run was played under, by what its run.json says of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from pbclient.benchmark.package import MCQA, OEG

ZERO_SHOT, REFERENCE, HINT = "zero-shot", "reference", "hint"
RANDOM_OPTIONS = "random-options"
# The paper shrinks the frames of a kept conversation.
HISTORY, HISTORY_FULL_SIZE = "history-resize", "history"
OPEN, OPEN_HINT, OPEN_TURNS = "oeg", "oeg-hint", "oeg-turns"

OFFICIAL, UNFILTERED = "official", "none"


@dataclass(frozen=True, slots=True)
class Condition:
    """`name` is made of all that differs from the plain question, as `oeg-hint` or `shots-3`.

    `filter` is "official", "none" or the digest of a list of samples.
    """

    name: str
    mode: str
    filter: str

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Self:
        """That of a run, from `config` of its run.json; what an older one does not say was not there."""
        mode = str(config.get("mode") or MCQA)
        words = [OEG] if mode == OEG else []
        words += ["turns"] if config.get("turns") == "many" else []
        flags = ("hint", "reference", "history", "resize", "cot")
        words += [flag for flag in flags if config.get(flag)]
        words += [f"shots-{config['shots']}"] if config.get("shots") else []
        words += [RANDOM_OPTIONS] if config.get("options") == "random" else []
        return cls("-".join(words) or ZERO_SHOT, mode, str(config.get("filter") or OFFICIAL))

    def __str__(self) -> str:
        return {OFFICIAL: self.name, UNFILTERED: f"{self.name}, unfiltered"}.get(
            self.filter, f"{self.name}, on a list of samples"
        )
