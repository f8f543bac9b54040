"""A list of kept samples is read as it was written, and refused in one sentence otherwise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pbclient.benchmark.package import kept_ids
from pbclient.data.filters import NONE, OFFICIAL, digest, read_filter
from pbclient.errors import InputError

WHOLE = {"pbclient_filter": 1, "ids": {"ROD": [3, 1], "QD": []}}


def file(folder: Path, content: Any) -> str:
    path = folder / "kept.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


def test_the_benchmarks_own_filter_and_none() -> None:
    assert read_filter("official") is OFFICIAL
    assert read_filter("none") is NONE
    assert OFFICIAL.ids("ROD") == kept_ids("ROD")
    assert NONE.ids("ROD") is None
    # A run from before there was a choice has no such option, which is the same as null.
    assert (OFFICIAL.recorded, NONE.recorded) == (None, "none")


def test_a_file_names_the_samples_of_each_data_set(tmp_path: Path) -> None:
    found = read_filter(file(tmp_path, WHOLE))
    assert [found.ids(name) for name in ("ROD", "QD", "COCO")] == [{1, 3}, frozenset(), frozenset()]
    assert found.listed


def test_a_filter_is_recorded_by_its_ids_and_not_by_its_file(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    first = read_filter(file(tmp_path, WHOLE))
    second = read_filter(file(tmp_path / "other", {"ids": {"ROD": [1, 3]}}))
    assert first.recorded == second.recorded == digest({"ROD": [1, 3]})
    assert first.recorded != digest({"ROD": [1, 2]})
    assert digest({"ROD": [1]}) != digest({"QD": [1]})


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "it is not JSON"),
        ([1], 'it has no "ids"'),
        ({"ids": [1]}, 'it has no "ids"'),
        ({"ids": {}}, "it keeps no sample"),
        ({"ids": {"ROD": []}}, "it keeps no sample"),
        ({"ids": {"RODD": [1]}}, "there is no data set 'RODD'"),
        ({"ids": {"ROD": ["1"]}}, "the ids of ROD must be a list of whole numbers"),
        ({"ids": {"ROD": [True]}}, "the ids of ROD must be a list of whole numbers"),
        ({"ids": {"ROD": 1}}, "the ids of ROD must be a list of whole numbers"),
        ({"ids": {"ROD": [1, 1]}}, "an id of ROD is listed twice"),
        ({"pbclient_filter": 2, "ids": {"ROD": [1]}}, "update pbclient"),
        ({"pbclient_filter": "x", "ids": {"ROD": [1]}}, "update pbclient"),
        ({**WHOLE, "digest": digest({"ROD": [1]})}, "was changed after it was written"),
    ],
)
def test_what_is_no_list_is_refused(tmp_path: Path, content: Any, said: str) -> None:
    name = file(tmp_path, content)
    with pytest.raises(InputError) as caught:
        read_filter(name)
    sentence = str(caught.value)
    assert said in sentence
    assert sentence.startswith(name)
    assert sentence.endswith(".")
    assert "\n" not in sentence


@pytest.mark.parametrize("name", ["Official", "kept.json", "", "a\0b", "none "])
def test_there_is_no_such_filter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"none|cannot be read|no list"):
        read_filter(name)


def test_a_folder_is_no_list(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no file: --filter takes"):
        read_filter(str(tmp_path))
