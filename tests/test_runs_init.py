"""The package exports what it says, and stands on little."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import runs


def test_exports_are_sorted_and_there() -> None:
    assert runs.__all__ == sorted(runs.__all__, key=lambda name: (not name.isupper(), name))
    assert all(hasattr(runs, name) for name in runs.__all__)


def test_imports_only_itself_orjson_msgspec_and_the_standard_library() -> None:
    imported = set()
    for file in Path(runs.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0
                imported.add(str(node.module).split(".")[0])
    assert imported - {"runs", "orjson", "msgspec"} <= sys.stdlib_module_names
