"""How the house stands: who imports whom, what is public, what starting loads, what is in the files."""

from __future__ import annotations

import ast
import asyncio
import importlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from loopback_faults import LoopbackServer
from package_loop import ask_by_looks

from pbclient import RunConfig, evaluate

ROOT = Path(__file__).resolve().parent.parent
LEAVES = ("providers", "cache", "runs")
PACKAGES = (*LEAVES, "pbclient")


def imported(source: str, package: str) -> set[str]:
    """The packages that a file of `package` imports, in functions as well."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(package if node.level else str(node.module).split(".")[0])
        elif isinstance(node, ast.Call) and _called(node) in ("import_module", "__import__"):
            found |= {str(each.value).split(".")[0] for each in node.args if isinstance(each, ast.Constant)}
    return found


def _called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def strangers(source: str, package: str) -> set[str]:
    """The packages of ours that a file of a leaf imports though it must not."""
    return imported(source, package) & (set(PACKAGES) - {package})


@pytest.mark.parametrize("package", LEAVES)
def test_the_leaves_import_neither_each_other_nor_pbclient(package):
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    found = {path.name: strangers(path.read_text(encoding="utf-8"), package) for path in files}
    assert {name: names for name, names in found.items() if names} == {}


@pytest.mark.parametrize(
    "planted",
    [
        "import cache",
        "import cache.store as store",
        "from runs import Ledger",
        "from pbclient.errors import InputError",
        "def late():\n    from cache import Store",
        "if TYPE_CHECKING:\n    from cache import Store",
        "importlib.import_module('pbclient.scheduler.plan')",
        "__import__('runs')",
    ],
)
def test_a_planted_import_is_found(planted):
    source = (ROOT / "providers" / "types.py").read_text(encoding="utf-8")
    assert strangers(source, "providers") == set()
    assert strangers(f"{source}\n{planted}\n", "providers")


# From the ground up: a room uses what stands to its left and nothing to its right.
ORDER = {
    "providers": "rate_limit usage deadline errors types host_memory weights catalog replies wire"
    " hosted direct llama hf loopback",
    "pbclient": "errors option record benchmark images progress turnstile data reward money scores models"
    " compare episodes calls config scheduler forecast report export cli",
}
ROOMS = {package: rooms.split() for package, rooms in ORDER.items()}


def climbs(source: str, package: str, room: str) -> set[str]:
    """The rooms above its own that a file of `room` imports."""
    order = ROOMS[package]
    rooms = set()
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        rooms |= {name.split(".")[1] for name in names if name.startswith(f"{package}.")}
    return {name for name in rooms if name in order and order.index(name) > order.index(room)}


@pytest.mark.parametrize("package", ROOMS)
def test_no_file_imports_from_a_room_above_its_own(package):
    upwards = {}
    for path in (ROOT / package).rglob("*.py"):
        room = path.relative_to(ROOT / package).with_suffix("").parts[0]
        if room in ("__init__", "__main__"):
            continue
        assert room in ROOMS[package], f"{room} has no place in the order of rooms"
        if found := climbs(path.read_text(encoding="utf-8"), package, room):
            upwards[str(path)] = found
    assert upwards == {}


@pytest.mark.parametrize(
    "planted",
    [
        "from pbclient.scheduler.plan import Plan",
        "from pbclient.scheduler import plan",
        "from pbclient import config",
        "import pbclient.cli.app",
        "def late():\n    from pbclient.report.panel import panel",
    ],
)
def test_a_planted_climb_is_found(planted):
    source = (ROOT / "pbclient" / "money" / "budget.py").read_text(encoding="utf-8")
    assert climbs(source, "pbclient", "money") == set()
    assert climbs(f"{source}\n{planted}\n", "pbclient", "money")


def public_names(package: str) -> set[str]:
    """What the package's `__init__` gives a name without an underscore and takes from itself."""
    names: set[str] = set()
    body = ast.parse((ROOT / package / "__init__.py").read_text(encoding="utf-8")).body
    for node in [*body, *(each for block in body if isinstance(block, ast.If) for each in block.body)]:
        if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] == package:
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return {name for name in names if not name.startswith("_")}


@pytest.mark.parametrize("package", PACKAGES)
def test_what_is_public_is_listed_sorted_and_there(package):
    module = importlib.import_module(package)
    # As the linter sorts: constants, then classes, then functions.
    listed = module.__all__
    assert listed == sorted(listed, key=lambda name: (not name.isupper(), name))
    assert set(listed) == public_names(package)
    assert [name for name in listed if getattr(module, name, None) is None] == []


def test_pbclient_has_no_other_names():
    import pbclient

    with pytest.raises(AttributeError, match="no_such_name"):
        pbclient.no_such_name  # noqa: B018


HEAVY = (
    "litellm",
    "openai",
    "PIL",
    "aiohttp",
    "rich",
    "diskcache",
    "proactivebench",
    "platformdirs",
    "tenacity",
    "jinja2",
)
OWN_HEAVY = (
    "pbclient.data.folder",
    "pbclient.data.samples",
    "pbclient.scheduler.plan",
    "pbclient.scheduler.evaluate",
)


def loaded_after(code: str, *, cwd: Path | None = None, **variables: str) -> tuple[set[str], str]:
    """What a fresh process has loaded after `code`, and what it printed."""
    program = (
        f"import sys, json\ntry:\n    {code}\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "print('\\n' + json.dumps(sorted(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=cwd, env=environment
    )
    assert done.returncode == 0, done.stderr
    printed, _, modules = done.stdout.rstrip("\n").rpartition("\n")
    return set(json.loads(modules)), printed


def command(*args: object) -> str:
    return f"import pbclient.cli.app; pbclient.cli.app.main({[str(each) for each in args]!r})"


@pytest.mark.parametrize("code", ["import pbclient", command("--help"), command("run", "--help")])
def test_help_and_import_load_nothing_heavy(code):
    loaded, _ = loaded_after(code)
    assert loaded.isdisjoint((*HEAVY, *OWN_HEAVY)), loaded.intersection((*HEAVY, *OWN_HEAVY))


@pytest.fixture(scope="module")
def bought(samples, tmp_path_factory) -> tuple[Path, list[str]]:
    """A folder with a run whose answers are all stored, and the options of that run."""
    folder = tmp_path_factory.mktemp("bought")

    async def play() -> str:
        async with LoopbackServer(ask_by_looks) as server:
            config = RunConfig(
                provider="openai",
                model="glance",
                base_url=server.url,
                price="1,2",
                data=samples,
                datasets=("QD",),
                cache_dir=folder / "answers",
                out=folder / "run",
            )
            result = await evaluate(config)
            assert result.exit_code == 0
            return server.url

    url = asyncio.run(play())
    options = ["--provider", "openai", "--model", "glance", "--base-url", url, "--price", "1,2"]
    options += ["--data", str(samples), "--dataset", "QD", "--cache-dir", str(folder / "answers")]
    return folder, options


@pytest.mark.slow
@pytest.mark.parametrize("more", [[], ["--offline"]], ids=["warm", "offline"])
def test_a_run_out_of_the_cache_loads_no_wire(bought, tmp_path, more):
    folder, options = bought
    # The server is gone: whatever is not in the cache would fail.
    loaded, printed = loaded_after(command("run", *options, *more, "--out", tmp_path / "run", "--json"))
    summary = json.loads(printed)
    assert summary["calls"]["wire"] == 0
    assert summary["calls"]["hits"] > 0
    assert summary["datasets"] == json.loads((folder / "run" / "summary.json").read_text())["datasets"]
    assert loaded.isdisjoint(("litellm", "openai", "aiohttp"))


@pytest.mark.slow
def test_scoring_loads_neither_wire_nor_pictures_nor_cache(bought):
    loaded, _ = loaded_after(command("score", bought[0] / "run", "--json"))
    assert loaded.isdisjoint(("litellm", "openai", "aiohttp", "PIL", "diskcache"))


@pytest.mark.slow
def test_a_baseline_loads_neither_wire_nor_pictures(samples, tmp_path):
    options = ["--provider", "baseline", "--data", samples, "--out", tmp_path / "run", "--json"]
    loaded, _ = loaded_after(command("run", *options))
    assert loaded.isdisjoint(("litellm", "openai", "aiohttp"))


def test_ignore_lines_are_anchored():
    # `runs/` or `cache/` without the slash in front would hide the packages of that name.
    lines = (ROOT / ".gitignore").read_text(encoding="utf-8").split()
    assert [line for line in lines if not line.startswith("/")] == ["__pycache__/", "*.egg-info/"]


def tracked() -> Iterator[tuple[str, str]]:
    """The text files that are or would be in the repository."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listing.returncode:
        pytest.skip("not a git checkout")
    for name in filter(None, listing.stdout.split("\0")):
        path = ROOT / name
        if path.is_file():
            yield name, path.read_bytes().decode("utf-8", "replace")


# Written so that this file does not match itself.
NOT_HERE = re.compile(r"(?<![\w.])/(?:root|home|Users|work|farm)/[\w.]|pypi[.]org|python[h]osted|index-[u]rl")


def test_no_file_names_a_registry_or_a_place_on_somebodys_machine():
    found = [(name, match[0]) for name, text in tracked() for match in NOT_HERE.finditer(text)]
    assert found == []


@pytest.mark.parametrize("planted", ["see " + "/root" + "/.cache", "https://" + "pypi" + ".org/simple"])
def test_a_planted_place_is_found(planted):
    assert NOT_HERE.search(planted)
