"""What the cache package exports, and that it needs no other package of ours."""

import ast
from pathlib import Path

import cache

SOURCES = sorted(Path(cache.__file__).parent.glob("*.py"))


def test_exports_are_sorted_and_there():
    assert cache.__all__ == sorted(cache.__all__, key=lambda name: (not name.isupper(), name))
    assert all(hasattr(cache, name) for name in cache.__all__)


def test_imports_nothing_of_the_other_packages():
    imported = set()
    for source in SOURCES:
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add((node.module or "").split(".")[0])
    assert not imported & {"pbclient", "providers", "runs", "pickle"}
