"""`--options random`: each suggestion of a row replaced by one that belongs to another data set.

The paper asks so whether models suggest what helps or merely what is offered. The package has an
environment for such rows (`random=True`) but does not make them: that is done here, seeded.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pbclient.dataset import open_data
from pbclient.errors import InputError
from pbclient.players import abstention


@dataclass(frozen=True)
class ForeignOptions:
    """The suggestions of every data set in a folder, sorted; drawn from for the others' rows."""

    suggestions: Mapping[str, tuple[str, ...]]
    seed: int

    @classmethod
    def of(cls, folder: Path, seed: int) -> Self:
        """Read from all data sets in the folder, whichever of them are played. Raises `DataError`."""
        with open_data(folder) as data:
            found = {
                name: sorted({text for each in samples for text in _suggestions(data.row(each)["options"])})
                for name, samples in data.samples.items()
            }
        if len(found) < 2:
            raise InputError(
                f"--options random takes suggestions from other data sets, but {folder} holds one: "
                "put another beside it."
            )
        return cls({name: tuple(texts) for name, texts in found.items()}, seed)

    @property
    def digest(self) -> str:
        """Tells two pools apart: other data beside the played ones make another experiment."""
        return hashlib.sha256(json.dumps(dict(self.suggestions), sort_keys=True).encode()).hexdigest()

    def put_into(self, dataset: str, row: Mapping[str, Any]) -> dict[str, Any]:
        """The row with foreign suggestions in the places of its own; abstentions stay."""
        rng = random.Random(f"{self.seed}/{dataset}/{row['id']}/options")
        drawn = iter(rng.sample(pool := self._foreign(dataset), min(len(pool), len(row["options"]))))
        own: list[str] = row["options"]
        options = [text if abstention(text) else next(drawn, None) for text in own]
        if None in options:
            raise InputError(
                f"--options random needs {len(own)} suggestions that {dataset} does not have, and the other "
                f"data sets give {len(pool)}: put more of them beside it."
            )
        return {**row, "options": options}

    def _foreign(self, dataset: str) -> list[str]:
        own = set(self.suggestions.get(dataset, ()))
        return sorted({text for texts in self.suggestions.values() for text in texts} - own)


def _suggestions(options: Iterable[str]) -> list[str]:
    return [text for text in options if not abstention(text)]
