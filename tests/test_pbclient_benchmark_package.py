"""What we say of the benchmark package holds for the one that is installed."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from proactivebench.environment import get_environment

from pbclient.benchmark import package as benchmark
from pbclient.benchmark.package import (
    DATA_SETS,
    data_set,
    environment_class,
    kept_ids,
    multiple_choice,
    skip_row,
)
from pbclient.errors import DataError


def installed(name: str) -> ast.AST:
    """The definition called `name` in the package's data module, which is not executed."""
    for node in ast.walk(ast.parse(benchmark.data_code())):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
            return node
    raise AssertionError(f"proactivebench.data_utils defines no {name}")


def installed_function(name: str) -> Callable[..., Any]:
    node = installed(name)
    assert isinstance(node, ast.FunctionDef)
    scope: dict[str, Any] = {}
    exec(compile(ast.Module([node], []), "data_utils.py", "exec"), scope)
    return scope[name]  # type: ignore[no-any-return]


@given(st.text(), st.lists(st.text(), max_size=30))
def test_question_is_worded_as_the_installed_package_words_it(question: str, options: list[str]) -> None:
    theirs = _template()(question, options, short_answer=True)
    assert multiple_choice(question, options) == theirs


def _template() -> Callable[..., Any]:
    if "template" not in _FOUND:
        _FOUND["template"] = installed_function("apply_multi_choice_template")
    return _FOUND["template"]


_FOUND: dict[str, Callable[..., Any]] = {}


def test_skipped_rows_are_those_of_the_installed_package() -> None:
    tables = [
        ast.literal_eval(node.value)
        for node in ast.walk(installed("JSONLDataset"))
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "self.skip_args"
    ]
    assert tables == [dict(benchmark.SKIPPED)]


@pytest.mark.parametrize(
    ("row", "skipped"),
    [
        ({"id": 6}, False),
        ({"strong_occlusions": True}, False),
        ({"strong_occlusions": False}, True),
        ({"strong_occlusions": 0}, True),
        ({"strong_occlusions": None}, False),
    ],
)
def test_skip_rule_agrees_with_the_installed_method(row: dict[str, Any], skipped: bool) -> None:
    class Theirs:
        skip_args = benchmark.SKIPPED

    assert skip_row(row) is skipped
    assert installed_function("_check_skip_args")(Theirs, row) is not skipped


@pytest.mark.parametrize(
    "code",
    [
        "FILTER = {'a': [1, 2]}",
        'FILTER = {"a": [1, 2],}',
        'FILTER = {\n    "a": [1, 2],\n}',
        'FILTER = {"a": [1, 2]}  # kept',
        '"""\nFILTER = {"a": [3]}\n"""\nFILTER = {"a": [1, 2]}',
        '"""\nFILTER = {"a": [3]}\n"""\nFILTER = {\n"a": [1, 2]}',
    ],
)
def test_a_table_of_kept_ids_in_another_dress_is_read_too(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "data_code", lambda: code)
    assert benchmark._filter_table.__wrapped__() == {"a": frozenset({1, 2})}


def test_seven_data_sets_in_table_order() -> None:
    assert [each.acronym for each in DATA_SETS] == ["ROD", "VSOD", "MVP-N", "IN-C", "QD", "CIT", "COCO"]
    assert data_set("ROD").file_name == "Realistic-Occlusion-Dataset_preprocessed.jsonl"


@pytest.mark.parametrize("name", ["COCO", "coco", "coco2014", " Coco2014 "])
def test_data_set_is_found_by_acronym_or_stem(name: str) -> None:
    assert data_set(name).acronym == "COCO"


def test_unknown_data_set_lists_the_known_ones() -> None:
    with pytest.raises(DataError, match=r"no data set 'RODD'.*ROD, VSOD, MVP-N, IN-C, QD, CIT, COCO"):
        data_set("RODD")


def test_filter_keeps_what_the_paper_counts() -> None:
    assert sum(len(kept_ids(each.acronym)) for each in DATA_SETS) == 7557
    assert {6, 199} <= kept_ids("VSOD")
    assert 0 not in kept_ids("VSOD")


@pytest.mark.parametrize("each", DATA_SETS, ids=lambda each: each.acronym)
def test_every_data_set_has_an_environment(each: benchmark.DataSet) -> None:
    assert environment_class(each.acronym) is get_environment(each.stem)  # as installed, unchanged


def test_an_environment_has_what_the_protocol_names() -> None:
    row = {
        "id": 0,
        "image_template": "frames/{image}.png",
        "first_image": 1,
        "num_images": 3,
        "reference_image": 2,
        "prompt": "What is behind the blocks?",
        "options": ["Move the blocks to the left.", "I cannot answer."],
        "categories": ["cat", "dog"],
        "answer": "dog",
    }
    environment = environment_class("ROD")(row, "", reference=True)
    members = list(benchmark.Environment.__annotations__) + [
        name for name in vars(benchmark.Environment) if name.startswith(("get_", "evaluate_", "_get_"))
    ]
    assert {"stop", "max_steps", "get_state", "evaluate_generated_answer"} <= set(members)
    assert all(hasattr(environment, name) for name in members)
    state = environment.get_state()
    assert state["image_path"] == "frames/2.png"
    assert set(state) == set(benchmark.State.__annotations__)
    environment.evaluate_generated_answer("dog")
    assert set(environment.get_statistics()) == set(benchmark.Statistics.__annotations__)


def test_neither_import_nor_filter_pulls_in_torch_or_the_package_too_early() -> None:
    code = (
        "import sys, pbclient.benchmark.package as b\n"
        "assert 'proactivebench' not in sys.modules\n"
        "b.kept_ids('ROD'), b.environment_class('ROD')\n"
        "assert not {'torch', 'PIL', 'proactivebench.data_utils'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).stderr == b""
