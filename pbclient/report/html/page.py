"""A page: sections, and an explorer of episodes where it has any, in one file that needs no other.

It is readable without its script. What it may load and run is said by a Content-Security-Policy: its own
style and script by their hashes, pictures that lie in it, and nothing else.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

import jinja2
from markupsafe import Markup

from pbclient.errors import InputError
from pbclient.report.html.sections import Section
from pbclient.report.html.text import visible
from runs import replace_file

PAGE_BYTES = 25_000_000  # what mail and previews take
MOST_BYTES = 80_000_000  # browsers fail to open more
# In the order in which they are put together.
SCRIPTS = ("data.js", "show.js", "filters.js", "list.js", "episode.js", "explorer.js")


@dataclass(frozen=True, kw_only=True)
class Page:
    """What a page shows.

    `lead` is what to know first; `heads` are facts: a term, and its value for each run, or one for all.
    `islands` are runs for the explorer, `frames` theirs in the page, `folder` is where others lie beside it.
    """

    title: str
    lead: Sequence[str]
    heads: Sequence[tuple[str, Sequence[str]]]
    sections: Sequence[Section]
    islands: Sequence[str] = ()
    remarks: Sequence[str] = ()
    frames: str = ""
    folder: str | None = None


def write(page: Page, out: Path) -> int:
    """Write a page whole, and return its bytes. Raises `InputError` where no browser would open it."""
    if out.is_dir():
        raise InputError(f"{out} is a folder: name a file with --out, such as {out / 'report.html'}.")
    data = render(page).encode("utf-8", "replace")
    if len(data) > MOST_BYTES:
        without = ", or leave the frames out with --images none" if page.frames else ""
        raise InputError(
            f"The report would be {len(data) / 1e6:.0f} MB, and browsers fail to open more than "
            f"{MOST_BYTES // 10**6}: name fewer runs at once{without}."
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    replace_file(out, [data])
    return len(data)


def render(page: Page) -> str:
    """The page as HTML."""
    style, script = source("style.css"), script_source()
    beside = " 'self' file:" if page.folder else ""
    policy = (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; "
        f"img-src data: blob:{beside}; base-uri 'none'; form-action 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    )
    return _template().render(page=page, policy=policy, style=Markup(style), script=Markup(script))


def source(name: str) -> str:
    """A file of the page as it lies beside this one."""
    return files("pbclient.report.html").joinpath(name).read_text(encoding="utf-8")


def script_source() -> str:
    """The one script, from its files."""
    return '"use strict";\n' + "\n".join(source(f"script/{name}") for name in SCRIPTS)


@cache
def _template() -> jinja2.Template:
    # Not `select_autoescape`, which leaves a file that ends in .j2 as it is.
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"visible": visible, "aligned": _aligned}
    return environment.from_string(source("page.html.j2"))


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _aligned(cell: str) -> str:
    """A cell of a table, whose padding keeps the width of the digits that it stands for."""
    return visible(cell.strip()).replace("[ ", "[\u2007").replace(" ", "\u00a0")
