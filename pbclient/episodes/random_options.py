"""Replace each suggestion of a row by one that belongs to another data set: `--options random`.

The paper asks so whether models suggest what helps or merely what is offered. The package has an
environment for such rows (`random=True`) but does not make them: that is done here, seeded.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from pbclient.data.folder import DataFolder, open_data
from pbclient.episodes.players import abstention
from pbclient.episodes.rules import Rules
from pbclient.errors import InputError


@dataclass(frozen=True)
class ForeignOptions:
    """What may stand in the rows of each data set instead of its own suggestions, sorted."""

    foreign: Mapping[str, tuple[str, ...]]
    seed: int

    @classmethod
    def of(cls, data: DataFolder, seed: int) -> Self:
        """For the rows of `data`, from all data sets in its folder. Raises `DataError` and `InputError`.

        Data sets that are much alike may offer what helps in both: a suggestion with a word that the
        package reads as one of the data set's own actions is not foreign to it.
        """
        with open_data(data.folder) as whole:
            own = {name: set[str]() for name in whole.samples}
            for name, samples in whole.samples.items():
                for row in map(whole.row, samples):
                    own[name].update(text for text in row["options"] if not abstention(text))
            sample = next(samples[0] for samples in whole.samples.values())
            # The words by which the package tells actions, the same in all of its environments.
            words = tuple(Rules().environment(sample, whole.row(sample)).action_map)
        foreign: dict[str, tuple[str, ...]] = {}
        for name, samples in data.samples.items():
            acts = [word for word in words if any(word in text.lower() for text in own[name])]
            others = set().union(*own.values()) - own[name]
            texts = [text for text in others if not any(word in text.lower() for word in acts)]
            foreign[name] = tuple(sorted(texts))
            needed = max(_suggested(data.row(sample)) for sample in samples)
            if len(texts) < needed:
                raise InputError(
                    f"--options random needs {needed} suggestions that {name} does not have, and the other "
                    f"data sets in {data.folder} give {len(texts)}: put more data sets beside it."
                )
        return cls(foreign, seed)

    @property
    def digest(self) -> str:
        """Tells two pools apart: other data beside the played ones make another experiment."""
        return hashlib.sha256(json.dumps(dict(self.foreign), sort_keys=True).encode()).hexdigest()

    def put_into(self, dataset: str, row: Mapping[str, Any]) -> dict[str, Any]:
        """The row with foreign suggestions in the places of its own; abstentions stay."""
        rng = random.Random(f"{self.seed}/{dataset}/{row['id']}/options")
        own: list[str] = row["options"]
        drawn = iter(rng.sample(self.foreign[dataset], _suggested(row)))
        return {**row, "options": [text if abstention(text) else next(drawn) for text in own]}


def _suggested(row: Mapping[str, Any]) -> int:
    return sum(not abstention(text) for text in row["options"])
