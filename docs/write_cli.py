"""Write docs/cli.md from the `--help` of every command; a test holds the file against it.

    uv run python docs/write_cli.py

What a command is for stands in its own help text, so that there is one place to change.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from pbclient.cli.app import main

PAGE = Path(__file__).with_name("cli.md")
WIDTH = 100
HEAD = """# The commands

Written by `docs/write_cli.py` from `--help`; change the help text and run it again.
"""


def commands(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    """The command and all below it with their full names, in the order of `--help`."""
    yield name, command
    if isinstance(command, click.Group):
        context = click.Context(command, info_name=name)
        for child in command.list_commands(context):
            found = command.get_command(context, child)
            assert found is not None
            yield from commands(found, f"{name} {child}")


def help_text(name: str, command: click.Command) -> str:
    """What `NAME --help` prints at a fixed width."""
    settings = {**main.context_settings, "max_content_width": WIDTH, "terminal_width": WIDTH}
    return command.get_help(click.Context(command, info_name=name, **settings))


def page() -> str:
    """The whole of docs/cli.md."""
    parts = [
        f"\n## {name}\n\n```text\n{help_text(name, command)}\n```\n"
        for name, command in commands(main, "pbclient")
    ]
    return HEAD + "".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
