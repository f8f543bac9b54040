"""What is written about the commands and the files holds: pages, help texts, the README's map."""

from __future__ import annotations

import re
import runpy
import tomllib
from pathlib import Path

import click
import pytest

from pbclient import DISTRIBUTION
from pbclient.cli.app import main

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PACKAGES = ("providers", "cache", "runs", "pbclient")
WRITER = runpy.run_path(str(ROOT / "docs" / "write_cli.py"))
COMMANDS: dict[str, click.Command] = dict(WRITER["commands"](main, "pbclient"))
README = (ROOT / "README.md").read_text(encoding="utf-8")
MAP = (ROOT / "docs" / "map.md").read_text(encoding="utf-8")
PAGE = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")


def test_the_page_of_commands_is_current():
    assert WRITER["page"]() == PAGE, "run: uv run python docs/write_cli.py"


def params_of(command: click.Command) -> list[click.Parameter]:
    # With the program's own settings: click keeps the help option that it makes first.
    return command.get_params(click.Context(command, **main.context_settings))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_says_what_it_is_for_and_is_in_the_docs(name):
    assert COMMANDS[name].help
    assert f"\n## {name}\n" in PAGE
    assert name in README


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_says_what_it_does(name):
    options = [each for each in params_of(COMMANDS[name]) if isinstance(each, click.Option)]
    assert [each.opts for each in options if not each.help] == []


def mapped_files(text: str) -> list[str]:
    """The files in the map, folder and name; each must come with a description."""
    block = re.search(r"^```text\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert block is not None
    folder, found = "", []
    for line in block[1].splitlines():
        if top := re.match(r"([\w/]+)/ {2,}\S", line):
            folder = top[1]
        elif name := re.match(r" +(\S+) {2,}\S", line):
            found.append(f"{folder}/{name[1]}")
        else:
            assert not line.strip(), f"no name and description: {line!r}"
    return found


def test_every_file_of_the_packages_is_in_the_map_exactly_once_and_no_other():
    kinds = ("*.py", "*.j2", "*.css", "*.js")
    files = [
        path.relative_to(ROOT) for name in PACKAGES for kind in kinds for path in (ROOT / name).rglob(kind)
    ]
    # A room's own line stands for its `__init__.py`.
    there = [str(path) for path in files if len(path.parts) == 2 or path.name != "__init__.py"]
    mapped = [name for name in mapped_files(MAP) if name.split("/")[0] in PACKAGES]
    assert sorted(mapped) == sorted(there)


def test_every_other_file_in_the_map_exists():
    assert [name for name in mapped_files(MAP) if "*" not in name and not (ROOT / name).is_file()] == []


def test_the_map_is_not_read_over_mistakes():
    text = "```text\ncache/   keep\n  a.py   what it is for\n  b.py\n```\n"
    with pytest.raises(AssertionError, match=r"b\.py"):
        mapped_files(text)
    assert mapped_files(text.replace("  b.py\n", "")) == ["cache/a.py"]


def said_commands(text: str) -> set[str]:
    """What follows `pbclient` in code, as far as it looks like a command."""
    code = "\n".join(re.findall(r"```.*?```|`[^`\n]+`", text, re.DOTALL))
    return set(re.findall(r"(?<!from )\bpbclient ((?:cache )?[a-z]+)\b", code))


def test_the_commands_in_the_readme_exist():
    # One cannot follow them otherwise; `cache` alone stands for its whole group.
    said = {f"pbclient {name}" for name in said_commands(README)}
    assert said
    assert said <= COMMANDS.keys()


def test_the_options_in_the_readme_exist():
    known = {name for command in COMMANDS.values() for each in params_of(command) for name in each.opts}
    of_others = {"--help", "--version", "--extra", "--threads-http", "--processes"}
    of_others |= {"--episodes", "--latency", "--tenfold"}  # of benchmarks
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", README)) <= known | of_others


def remedies() -> str:
    """All that the product and its pages may tell a user to type."""
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    sources = [path for name in PACKAGES for path in (ROOT / name).rglob("*.py")]
    return "\n".join(path.read_text(encoding="utf-8") for path in (*pages, *sources))


def test_the_distribution_has_a_name_of_its_own():
    # On the public index `pbclient` is somebody else's project.
    assert PROJECT["name"] == DISTRIBUTION != "pbclient"


def test_every_install_command_that_is_named_fits_this_project():
    others = {"uv"}
    for command in re.findall(r"(?:pip|uv) (?:install|add|sync|tool install)\b[^`.;\n]*", remedies()):
        words = [word.strip("'\"") for word in command.split()[2:] if not word.startswith("-")]
        if "sync" not in command and words and re.fullmatch(r"[\w\[\]-]+", words[0]):
            assert words[0].split("[")[0] in others | {DISTRIBUTION}, command
    assert "pbclient[" not in remedies()


def test_every_extra_that_a_remedy_names_exists():
    named = set(re.findall(r"--extra ([\w-]+)", remedies()))
    assert {"llama-server", "llamacpp", "transformers"} <= named <= PROJECT["optional-dependencies"].keys()
