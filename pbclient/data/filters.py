"""Which samples are played: those the benchmark keeps, all of them, or those that a file lists.

A filter goes by ids alone. Rows that the package drops whatever their id (`benchmark.SKIPPED`) are
in none: with them left out, the first version of the paper had 63 samples of VSOD before its filter
(every VSOD share in its Table 1 is a multiple of 1/63, not of the 42 that the filter keeps).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from reprlib import repr as shortly
from typing import Any

from pbclient.benchmark.package import DATA_SETS, kept_ids
from pbclient.errors import InputError

SCHEMA = 1
FORMAT = "pbclient_filter"  # the key by which such a file is known, and its schema number

type Ids = Mapping[str, frozenset[int]]


@dataclass(frozen=True)
class Filter:
    """The samples to play, by data set.

    `ids` gives those of one data set, or None where all are meant; `recorded` is what run.json says
    of the filter (None for the benchmark's own, so that a run from before there was a choice goes
    on), and `listed` whether each id was listed by a user and therefore has to be there.
    """

    name: str
    recorded: str | None
    ids: Callable[[str], frozenset[int] | None]
    listed: bool = False


LARGEST = 64 << 20  # bytes of a file of kept samples

OFFICIAL = Filter("official", None, kept_ids)
NONE = Filter("none", "none", lambda acronym: None)


def read_filter(text: str) -> Filter:
    """The filter that `--filter none|official|FILE` names. Raises `InputError` for a file that is none.

    A file needs {"ids": {"ROD": [0, 1, ...], ...}}; a data set that it does not name has no sample.
    """
    for known in (OFFICIAL, NONE):
        if text == known.name:
            return known
    ids = _ids(text, _content(text))
    return Filter(text, digest(ids), lambda acronym: ids.get(acronym, frozenset()), listed=True)


def digest(ids: Mapping[str, Collection[int]]) -> str:
    """What a list of ids is known by, whatever its order and wherever it lies."""
    acronyms = [dataset.acronym for dataset in DATA_SETS if ids.get(dataset.acronym)]
    text = json.dumps({acronym: sorted(ids[acronym]) for acronym in acronyms})
    return f"sha256:{hashlib.sha256(text.encode('ascii')).hexdigest()}"


def _content(text: str) -> dict[str, Any]:
    try:
        path = Path(text)
        if path.exists() and not path.is_file():
            raise InputError(f"{text} is no file: --filter takes none, official or a file of kept samples.")
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
        if len(data) > LARGEST:
            raise _no_list(text, f"it is larger than {LARGEST >> 20} MB")
        content = json.loads(data.decode("utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"There is no filter {text!r}: --filter takes none, official or a file that "
            "`pbclient filter` has written."
        ) from None
    except OSError as error:
        raise InputError(f"{text} cannot be read: {error.strerror or error}.") from None
    except (ValueError, RecursionError):
        raise _no_list(text, "it is not JSON") from None
    if not isinstance(content, dict) or not isinstance(content.get("ids"), dict):
        raise _no_list(text, 'it has no "ids"')
    schema = content.get(FORMAT, SCHEMA)
    if not isinstance(schema, int) or schema > SCHEMA:
        raise InputError(f"{text} is of a later format ({shortly(schema)}): update pbclient.")
    return content


def _ids(text: str, content: Mapping[str, Any]) -> Ids:
    known = [dataset.acronym for dataset in DATA_SETS]
    for name, numbers in content["ids"].items():
        if name not in known:
            raise _no_list(text, f"there is no data set {name!r}; there are {', '.join(known)}")
        if not isinstance(numbers, list) or not {int}.issuperset(map(type, numbers)):
            raise _no_list(text, f"the ids of {name} must be a list of whole numbers")
        if len(set(numbers)) < len(numbers):
            raise _no_list(text, f"an id of {name} is listed twice")
    ids = {name: frozenset(numbers) for name, numbers in content["ids"].items() if numbers}
    if not ids:
        raise _no_list(text, "it keeps no sample")
    if content.get("digest", digest(ids)) != digest(ids):
        raise InputError(
            f"{text} was changed after it was written (its digest is another): write it again, "
            'or delete its "digest" if the change is meant.'
        )
    return ids


def _no_list(text: str, why: str) -> InputError:
    return InputError(f"{text} is no list of kept samples ({why}): `pbclient filter` writes one.")
