"""The published layout is read as it is, and everything else is refused in one sentence."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pbclient.benchmark.package import DATA_SETS, STEMS, environment_class, kept_ids
from pbclient.data import folder as dataset
from pbclient.data.filters import NONE, OFFICIAL, Filter
from pbclient.data.folder import DataFolder, open_data
from pbclient.errors import DataError

OWN: dict[str, dict[str, Any]] = {
    "ROD": {},
    "VSOD": {"strong_occlusions": True},
    "MVP-N": {"image_template": "mvp/{informative}/{image}.jpg", "valid_images": [3, 1, 2], "first_image": 3},
    "IN-C": {"image_template": "in/{level}.jpg", "quality_answer": "Rotate.", "first_image": 2},
    "QD": {},
    "CIT": {
        "step_size": 2,
        "max_steps": 5,
        "options": ["Rewind the video.", "Wait for the cut.", "I do not know."],
    },
    "COCO": {
        "image_template": "coco/a {b}.jpg",
        "direction": "left_up",
        "granularity": 2,
        "horizontal_step": 10.5,
        "vertical_step": 4,
        "crop": {"top": 1, "left": 2, "height": 30, "width": 40},
    },
}


def row(acronym: str, number: int | None = None, **changes: Any) -> dict[str, Any]:
    """A row that the benchmark keeps."""
    common = {
        "id": min(kept_ids(acronym)) if number is None else number,
        "image_template": f"{acronym}/{{image}}.jpg",
        "first_image": 1,
        "num_images": 3,
        "reference_image": 0,
        "prompt": "What is it?",
        "options": ["Rotate.", "I cannot answer."],
        "categories": ["cat", "dog"],
        "answer": "dog",
    }
    return {**common, **OWN[acronym], **changes}


def write(folder: Path, acronym: str, rows: list[Any], end: str = "\n") -> Path:
    path = folder / f"{STEMS[acronym]}_preprocessed.jsonl"
    path.write_bytes("".join(json.dumps(each) + end for each in rows).encode())
    return path


def refused(folder: Path, *names: str) -> str:
    """The one sentence with which the folder is refused."""
    with pytest.raises(DataError) as caught:
        open_data(folder, names or None)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert sentence.endswith(".")
    return sentence


def refused_row(folder: Path, acronym: str, changed: Any) -> str:
    """What is wrong with a row, which is said after the names of its file and line."""
    path = write(folder, acronym, [{"id": -1}, changed])
    said = refused(folder)
    assert said.startswith(f"{path}, line 2: ")
    return said


def without(whole: dict[str, Any], field: str) -> dict[str, Any]:
    return {name: value for name, value in whole.items() if name != field}


@pytest.mark.parametrize("acronym", STEMS)
def test_kept_rows_become_samples_that_the_environment_takes(tmp_path: Path, acronym: str) -> None:
    first, second = sorted(kept_ids(acronym))[:2]
    write(tmp_path, acronym, [row(acronym, second), {"id": -1}, row(acronym, first)])
    with open_data(tmp_path) as data:
        assert [sample.id for sample in data.samples[acronym]] == [str(second), str(first)]
        for sample in data.samples[acronym]:
            assert data.row(sample) == row(acronym, int(sample.id))
            environment = environment_class(acronym)(data.row(sample), "")
            assert environment.get_state()["image_path"]


def test_skipped_rows_are_no_samples(tmp_path: Path) -> None:
    first, second = sorted(kept_ids("VSOD"))[:2]
    write(tmp_path, "VSOD", [row("VSOD", first, strong_occlusions=False), row("VSOD", second)])
    with open_data(tmp_path) as data:
        assert [sample.id for sample in data.samples["VSOD"]] == [str(second)]


def listed(**ids: set[int]) -> Filter:
    """A user's list."""
    return Filter("kept.json", "sha256:x", lambda name: frozenset(ids.get(name, ())), listed=True)


def test_without_a_filter_all_rows_but_the_skipped_are_samples(tmp_path: Path) -> None:
    kept = min(kept_ids("VSOD"))
    rows = [row("VSOD", number) for number in (0, kept, 7000)]
    write(tmp_path, "VSOD", [*rows, row("VSOD", 3, strong_occlusions=False)])
    assert 0 not in kept_ids("VSOD")
    assert [each.id for each in open_data(tmp_path, keep=NONE).samples["VSOD"]] == ["0", str(kept), "7000"]
    assert [each.id for each in open_data(tmp_path).samples["VSOD"]] == [str(kept)]


def test_without_a_filter_every_sample_is_checked(tmp_path: Path) -> None:
    write(tmp_path, "ROD", [row("ROD", 1), {"id": 5000}])
    assert open_data(tmp_path).samples["ROD"]
    with pytest.raises(DataError, match="line 2: field 'image_template' is missing"):
        open_data(tmp_path, keep=NONE)


def test_a_list_keeps_what_it_names_and_leaves_other_data_sets_out(tmp_path: Path) -> None:
    write(tmp_path, "ROD", [row("ROD", number) for number in (1, 2, 7000)])
    write(tmp_path, "QD", [row("QD")])
    samples = open_data(tmp_path, keep=listed(ROD={1, 7000})).samples
    assert {name: [each.id for each in found] for name, found in samples.items()} == {"ROD": ["1", "7000"]}


@pytest.mark.parametrize(("names", "missing"), [(["QD"], "QD"), (["QD", "ROD"], "QD"), ([], "ROD, QD")])
def test_a_data_set_that_a_list_leaves_out_cannot_be_asked_for(
    tmp_path: Path, names: list[str], missing: str
) -> None:
    write(tmp_path, "ROD", [row("ROD")])
    write(tmp_path, "QD", [row("QD")])
    keep = listed(ROD={min(kept_ids("ROD"))} if names else set())
    with pytest.raises(DataError, match=rf"^kept\.json keeps no sample of {missing}: "):
        open_data(tmp_path, names or None, keep)


def test_a_listed_data_set_has_to_be_there_unless_others_are_chosen(tmp_path: Path) -> None:
    write(tmp_path, "ROD", [row("ROD", 1)])
    keep = listed(ROD={1}, QD={1})
    with pytest.raises(
        DataError, match=r"no QuickDraw_preprocessed\.jsonl, of which kept\.json keeps samples"
    ):
        open_data(tmp_path, keep=keep)
    assert list(open_data(tmp_path, ["ROD"], keep).samples) == ["ROD"]


def test_a_listed_sample_has_to_be_there(tmp_path: Path) -> None:
    path = write(tmp_path, "VSOD", [row("VSOD", 1), row("VSOD", 2, strong_occlusions=False)])
    with pytest.raises(DataError) as caught:
        open_data(tmp_path, keep=listed(VSOD={1, 2, 3}))
    assert str(caught.value) == (
        f"{path} lacks 2 of the 3 samples that kept.json keeps (ids 2, 3): the list was made from other data."
    )


def test_digest_says_what_is_played_and_sources_what_it_is_from(tmp_path: Path) -> None:
    path = write(tmp_path, "ROD", [row("ROD", 1), row("ROD", 2), row("ROD", 7000)])
    official, whole, part = (open_data(tmp_path, keep=keep) for keep in (*FILTERS, listed(ROD={1})))
    assert len({official.digest, whole.digest, part.digest}) == 3
    assert official.digest == open_data(tmp_path, keep=listed(ROD={1, 2})).digest
    assert official.sources == whole.sources == part.sources
    assert official.described == {"digest": official.digest, "sources": official.sources}
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n\r\n"))
    assert open_data(tmp_path).sources == official.sources
    write(tmp_path, "ROD", [row("ROD", 1), row("ROD", 2), row("ROD", 7000, prompt="Another?")])
    assert open_data(tmp_path).digest == official.digest
    assert open_data(tmp_path).sources != official.sources


FILTERS = (OFFICIAL, NONE)


def test_data_sets_are_in_table_order_however_they_are_named(tmp_path: Path) -> None:
    for acronym in ("COCO", "ROD", "QD"):
        write(tmp_path, acronym, [row(acronym)])
    assert list(open_data(tmp_path).samples) == ["ROD", "QD", "COCO"]
    assert list(open_data(tmp_path, ["coco2014", "rod", "ROD"]).samples) == ["ROD", "COCO"]
    assert list(open_data(tmp_path, []).samples) == ["ROD", "QD", "COCO"]


def test_byte_order_mark_carriage_returns_and_blank_lines(tmp_path: Path) -> None:
    path = write(
        tmp_path, "ROD", [row("ROD", 1), row("ROD", 2, prompt="Qu'est-ce? \u2028 \u65e5")], end="\r\n\r\n"
    )
    path.write_bytes(b"\xef\xbb\xbf\n  \n" + path.read_bytes().rstrip())
    with open_data(tmp_path) as data:
        assert [data.row(sample)["id"] for sample in data.samples["ROD"]] == [1, 2]


def test_files_may_be_links(tmp_path: Path) -> None:
    (tmp_path / "blobs").mkdir()
    (tmp_path / "data").mkdir()
    path = write(tmp_path / "blobs", "ROD", [row("ROD")])
    (tmp_path / "data" / path.name).symlink_to(path)
    assert open_data(tmp_path / "data").samples["ROD"]
    path.unlink()
    assert "link to a file that is not there" in refused(tmp_path / "data")


def digest(folder: Path, *rows: dict[str, Any]) -> str:
    folder.mkdir(exist_ok=True)
    write(folder, "ROD", list(rows))
    return open_data(folder).digest


def test_digest_says_what_the_kept_rows_hold(tmp_path: Path) -> None:
    whole = digest(tmp_path / "a", row("ROD", 1), row("ROD", 2))
    backwards = dict(reversed(row("ROD", 1).items()))
    assert digest(tmp_path / "b", {"id": -1}, backwards, row("ROD", 2)) == whole
    assert digest(tmp_path / "c", row("ROD", 2), row("ROD", 1)) != whole
    assert digest(tmp_path / "d", row("ROD", 1), row("ROD", 2, prompt="What is that?")) != whole
    assert digest(tmp_path / "e", row("ROD", 1)) != whole


def test_folder_that_is_not_there_or_no_folder(tmp_path: Path) -> None:
    assert "There is no data folder" in refused(tmp_path / "nowhere")
    path = write(tmp_path, "ROD", [row("ROD")])
    assert "is not a folder" in refused(path)


def test_folder_at_the_wrong_level(tmp_path: Path) -> None:
    for name in ("earlier", "test", "test/ImageNet-C"):
        (tmp_path / name).mkdir()
    assert "holds none of the data files" in refused(tmp_path)
    write(tmp_path / "earlier", "ROD", [row("ROD")])
    assert f"one level too high: give {tmp_path / 'earlier'}," in refused(tmp_path)
    write(tmp_path / "test", "IN-C", [row("IN-C")])
    assert f"one level too high: give {tmp_path / 'test'}," in refused(tmp_path)
    assert f"one level too low: give {tmp_path / 'test'}," in refused(tmp_path / "test/ImageNet-C")


def test_data_sets_that_are_not_there(tmp_path: Path) -> None:
    write(tmp_path, "ROD", [row("ROD")])
    write(tmp_path, "QD", [row("QD")])
    said = refused(tmp_path, "rod", "coco")
    assert "coco2014_preprocessed.jsonl" in said
    assert "(ROD, QD)" in said
    assert "no data set 'RODD'" in refused(tmp_path, "RODD")


def test_no_kept_row(tmp_path: Path) -> None:
    path = write(tmp_path, "ROD", [row("ROD", 88)])
    assert refused(tmp_path).startswith(f"{path} holds no sample")
    path.write_bytes(b"")
    assert refused(tmp_path).startswith(f"{path} holds no sample")


def test_pipes_are_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / DATA_SETS[0].file_name)
    assert "holds none of the data files" in refused(tmp_path)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{]\n", "line 2: not valid JSON (Expecting property name"),
        (b'{"id": 1', "line 2: the file ends in the middle of a row"),
        (b"[1]\n", "line 2: a row must be a JSON object, not list"),
        (b"\xff\xfe\n", "line 2: not valid JSON ('utf-8' codec can't decode"),
        (b"[" * 100_000 + b"\n", "line 2: not valid JSON (maximum recursion depth"),
        (b'{"id": ' + b"1" * 5000 + b"}\n", "line 2: not valid JSON (Exceeds the limit"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (b'{"id": -1, "x": "' + b"x" * dataset.MAX_LINE_BYTES + b'"}\n', "more than 4 MiB"),
        (b"{}\n", "field 'id' is missing"),
        (b'{"id": "1"}\n', "field 'id' must be a whole number, not '1'"),
        (b'{"id": true}\n', "field 'id' must be a whole number, not True"),
    ],
    ids=range(11),
)
def test_broken_line_is_named(tmp_path: Path, line: bytes, reason: str) -> None:
    path = write(tmp_path, "ROD", [row("ROD", 1)])
    path.write_bytes(path.read_bytes() + line)
    said = refused(tmp_path)
    assert said.startswith(f"{path}, line 2: ")
    assert reason in said


def test_equal_ids_are_named_with_their_lines(tmp_path: Path) -> None:
    write(tmp_path, "ROD", [row("ROD", 1), row("ROD", 2), row("ROD", 1)])
    assert "lines 1 and 3 have the same id 1" in refused(tmp_path)


@pytest.mark.parametrize("acronym", STEMS)
def test_every_field_that_the_environment_reads_must_be_there(tmp_path: Path, acronym: str) -> None:
    whole = row(acronym)
    for field in set(whole) - {"id"}:
        said = refused_row(tmp_path, acronym, without(whole, field))
        assert said.endswith(f"field {field!r} is missing.")


NAN, INFINITE = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("acronym", "field", "values"),
    [
        ("ROD", "num_images", ["14", 14.0, 0, -1, 20_001, 10**30, True, None, NAN]),
        ("ROD", "first_image", ["1", -1, 10**30, 1.5]),
        ("ROD", "reference_image", [[0], 1.5, -1, True]),
        ("ROD", "prompt", [None, 3, ["What?"]]),
        ("ROD", "options", [[], "Rotate.", ["Rotate.", 3], ["x"] * 1001, {"A": "Rotate."}]),
        ("ROD", "categories", [[], [None], "dog"]),
        ("ROD", "answer", [None, ["dog"], "bird", ""]),
        ("ROD", "image_template", [None, 3]),
        ("VSOD", "strong_occlusions", ["yes", 2, None]),
        ("MVP-N", "valid_images", ["123", [1.5], [None], list(range(20_001))]),
        ("IN-C", "quality_answer", [None, 0]),
        ("CIT", "step_size", ["2", -1, 1.5]),
        ("CIT", "max_steps", [0, "5", 10**9]),
        ("COCO", "granularity", [0, 2.5, 10**9]),
        ("COCO", "direction", [None, ["left"]]),
        ("COCO", "horizontal_step", ["1", NAN, INFINITE, 10**400, True, 2e6]),
        ("COCO", "crop", [None, [1, 2, 3, 4], {"top": 1, "left": 2, "height": 3}]),
    ],
)
def test_fields_of_the_wrong_kind_are_named(
    tmp_path: Path, acronym: str, field: str, values: list[Any]
) -> None:
    for value in values:
        said = refused_row(tmp_path, acronym, row(acronym, **{field: value}))
        assert f"field {field!r} " in said
        assert len(said) < 300 + len(str(tmp_path))


def test_crop_must_hold_numbers(tmp_path: Path) -> None:
    crop = {"top": 1, "left": NAN, "height": 3, "width": 4}
    assert "field 'crop'" in refused_row(tmp_path, "COCO", row("COCO", crop=crop))


@pytest.mark.parametrize(
    "template",
    [
        "{image.__class__}.jpg", "{image[0]}.jpg", "{image!r}.jpg", "{image:>9}.jpg", "{image:{image}}.jpg",
        "{}.jpg", "{0}.jpg", "{level}.jpg", "{image", "}", "{image}{informative}",
        "/etc/{image}", "../{image}", "a/../../{image}", "a\\..\\{image}", "a\0{image}", "C:{image}", "",
    ],
)  # fmt: skip
def test_templates_that_would_leave_the_folder_or_the_format(tmp_path: Path, template: str) -> None:
    said = refused_row(tmp_path, "ROD", row("ROD", image_template=template))
    assert "field 'image_template' " in said


def test_templates_that_are_taken(tmp_path: Path) -> None:
    templates = ["{image}.jpg", "a b/{image}/{image}.png", "{{x}}/{image:}.jpg", "./same.jpg"]
    write(tmp_path, "ROD", [row("ROD", n, image_template=each) for n, each in enumerate(templates)])
    assert len(open_data(tmp_path).samples["ROD"]) == len(templates)
    write(tmp_path, "COCO", [row("COCO", image_template="../{b}.jpg")])
    assert "leads out of the data folder" in refused(tmp_path)


def test_half_a_surrogate_pair_is_refused(tmp_path: Path) -> None:
    assert "half a surrogate pair" in refused_row(tmp_path, "ROD", row("ROD", prompt="\ud800"))


def test_row_that_changed_since_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "ROD", [row("ROD", 1)])
    with open_data(tmp_path) as data:
        (sample,) = data.samples["ROD"]
        path = write(tmp_path, "ROD", [row("ROD", 1, answer="cat")])
        with pytest.raises(DataError, match="has changed since"):
            data.row(sample)
        path.unlink()
        with pytest.raises(DataError, match="cannot be read"):
            data.row(sample)


def test_a_file_that_was_put_in_the_place_of_another_is_not_played(tmp_path: Path) -> None:
    path = write(tmp_path, "ROD", [row("ROD", 1)])
    with open_data(tmp_path) as data:
        (sample,) = data.samples["ROD"]
        assert data.row(sample) == row("ROD", 1)
        path.rename(tmp_path / "before")
        write(tmp_path, "ROD", [row("ROD", 1, answer="cat")])
        assert data.row(sample) == row("ROD", 1)
    with pytest.raises(DataError, match="has changed since"):  # closed, and so read anew
        data.row(sample)


def _opened(path: Path) -> DataFolder | None:
    with suppress(DataError):
        return open_data(path)
    return None


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(deadline=None)  # files and decoders take their time
@given(st.sampled_from(list(STEMS)), st.data())
def test_any_value_in_any_field_is_refused_or_read_back(
    tmp_path_factory: pytest.TempPathFactory, acronym: str, data: st.DataObject
) -> None:
    whole = row(acronym)
    whole[data.draw(st.sampled_from(sorted(whole)))] = data.draw(_JSON)
    folder = tmp_path_factory.mktemp("row", numbered=True)
    write(folder, acronym, [whole])
    opened = _opened(folder)
    if opened is not None:
        (sample,) = opened.samples[acronym]
        assert json.dumps(opened.row(sample)) == json.dumps(whole)


@settings(deadline=None)  # files and decoders take their time
@given(st.data())
def test_any_bytes_are_refused_or_read(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    content = bytearray((json.dumps(row("ROD", 1)) + "\n" + json.dumps(row("ROD", 2)) + "\n").encode())
    for _ in range(data.draw(st.integers(0, 3))):
        start = data.draw(st.integers(0, len(content)))
        content[start : start + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=9))
    folder = tmp_path_factory.mktemp("bytes", numbered=True)
    (folder / DATA_SETS[0].file_name).write_bytes(content)
    opened = _opened(folder)
    if opened is not None:
        for sample in opened.samples["ROD"]:
            assert str(opened.row(sample)["id"]) == sample.id
