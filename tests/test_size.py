"""How large the house may get: files, rooms, functions, and functions that are used only once."""

from __future__ import annotations

import ast
import io
import tokenize
from collections import Counter
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("providers", "cache", "runs", "pbclient")

# 21,600 before the report (1,700 with its charts and frames), exports (1,000), the numbers of a study (1,700)
# what holds against hostile bills and damaged folders (1,000), open-ended episodes of several turns (600).
MOST_LINES = 28_000
MOST_LINES_A_FILE = 350
MOST_LINES_A_ROOM = 2_000
MOST_LINES_A_SCRIPT = 400  # JavaScript
# Functions whose name occurs twice in their package, where it is defined and where it is used.
MOST_USED_ONCE = 15  # in 1,000 lines
P90_OF_A_FUNCTION = range(15, 31)  # lines: below it a reader jumps, above it a reader scrolls


def sources(root: Path, package: str) -> dict[Path, str]:
    return {path: path.read_text(encoding="utf-8") for path in sorted((root / package).rglob("*.py"))}


def functions(source: str) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def lines(source: str) -> int:
    return source.count("\n")


def used_once(files: dict[Path, str]) -> list[str]:
    """The functions of a package that one place uses; Python calls those with two underscores itself."""
    words = Counter(
        token.string
        for source in files.values()
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.NAME
    )
    names = [function.name for source in files.values() for function in functions(source)]
    return [name for name in names if words[name] == 2 and not name.startswith("__")]


@pytest.fixture(scope="module")
def house() -> dict[str, dict[Path, str]]:
    return {package: sources(ROOT, package) for package in PACKAGES}


def test_the_product_stays_within_its_size(house):
    assert sum(lines(source) for files in house.values() for source in files.values()) <= MOST_LINES


def test_no_file_is_longer_than_its_limit(house):
    long = {
        str(path.relative_to(ROOT)): lines(source)
        for files in house.values()
        for path, source in files.items()
        if lines(source) > MOST_LINES_A_FILE
    }
    assert long == {}


def test_no_script_is_longer_than_its_limit():
    scripts = {path.name: lines(path.read_text(encoding="utf-8")) for path in ROOT.glob("pbclient/**/*.js")}
    assert scripts
    assert {name: size for name, size in scripts.items() if size > MOST_LINES_A_SCRIPT} == {}


def test_no_room_is_larger_than_its_limit(house):
    rooms: Counter[str] = Counter()
    for files in house.values():
        for path, source in files.items():
            rooms[str(path.parent.relative_to(ROOT))] += lines(source)
    assert {room: size for room, size in rooms.items() if size > MOST_LINES_A_ROOM} == {}


def test_functions_are_neither_crumbs_nor_scrolls(house):
    lengths = sorted(
        function.end_lineno - function.lineno + 1
        for files in house.values()
        for source in files.values()
        for function in functions(source)
    )
    assert lengths[len(lengths) * 9 // 10] in P90_OF_A_FUNCTION


def test_few_functions_are_used_only_once(house):
    total = sum(lines(source) for files in house.values() for source in files.values())
    crumbs = [name for files in house.values() for name in used_once(files)]
    assert len(crumbs) * 1000 / total <= MOST_USED_ONCE, sorted(crumbs)


def test_a_function_with_one_caller_is_found(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.py").write_text(
        "def once(): ...\ndef twice(): ...\nonce()\ntwice()\ntwice()\n# once\n", encoding="utf-8"
    )
    assert used_once(sources(tmp_path, "a")) == ["once"]


def module_of(path: Path, root: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(root: Path, packages: tuple[str, ...]) -> dict[str, set[str]]:
    """The modules of ours that each module imports, wherever in its file."""
    files = {
        module_of(path, root): source
        for package in packages
        for path, source in sources(root, package).items()
    }
    graph: dict[str, set[str]] = {module: set() for module in files}
    for module, source in files.items():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Import):
                names = {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                inner = {f"{node.module}.{alias.name}" for alias in node.names}
                # `from package import module` needs the module; `from module import name` needs that module.
                names = {name if name in files else str(node.module) for name in inner}
            else:
                continue
            graph[module] |= {name for name in names if name in files and name != module}
    return graph


def cycle(graph: dict[str, set[str]]) -> list[str]:
    # A package names what its modules define; that its modules stand below it is no cycle.
    packages = {module for module in graph if any(other.startswith(f"{module}.") for other in graph)}
    edges = {module: names - packages for module, names in graph.items() if module not in packages}
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_no_modules_import_each_other_in_a_circle():
    assert cycle(imports(ROOT, PACKAGES)) == []


def test_a_circle_is_found(tmp_path):
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "__init__.py").write_text("from p.a import x\n", encoding="utf-8")
    (tmp_path / "p" / "a.py").write_text("from p import b\nx = 1\n", encoding="utf-8")
    (tmp_path / "p" / "b.py").write_text("def late():\n    from p.a import x\n", encoding="utf-8")
    assert set(cycle(imports(tmp_path, ("p",)))) == {"p.a", "p.b"}
