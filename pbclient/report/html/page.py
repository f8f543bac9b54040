"""`pbclient report`: recorded runs as one HTML file, which needs no network and no other file.

The page is readable without its script. What it may load and run is said by a Content-Security-Policy:
its own style and script by their hashes, pictures that lie in it, and nothing else.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

import jinja2
from markupsafe import Markup

from pbclient.compare.comparison import Comparison, compare
from pbclient.errors import InputError
from pbclient.report.html.frames import BUDGET, Frames, View, Views, wanted
from pbclient.report.html.island import island, packed
from pbclient.report.html.reported import Reported, facts, read_reported
from pbclient.report.html.sections import Section, lead, sections
from pbclient.report.html.text import visible
from runs import Identity, identity, replace_file

SOME, ALL, NO = "some", "all", "none"
IMAGES = (SOME, ALL, NO)
PAGE_BYTES = 25_000_000  # what mail and previews take; frames fill a page no further
PAGE_ROOM = 1_500_000  # for tables, figures, style, script, and the names of frames in the episodes
MOST_BYTES = 80_000_000  # browsers fail to open more
# In the order in which they are put together.
SCRIPTS = ("data.js", "show.js", "filters.js", "list.js", "episode.js", "explorer.js")


@dataclass(frozen=True)
class Written:
    """Where a report is, and what there is to say about it."""

    path: Path
    size: int
    notes: Sequence[str]


@dataclass(frozen=True)
class Pictures:
    """The frames of a page, which of them each turn shows, and what the environments would have taken."""

    frames: Frames
    names: Mapping[str, Mapping[tuple[Identity, int], str]]
    views: Mapping[str, Mapping[Identity, Sequence[View]]]
    without_data: Sequence[str]


def write_report(
    paths: Sequence[Path],
    out: Path | None = None,
    *,
    images: str = SOME,
    data: Path | None = None,
    force: bool = False,
) -> Written:
    """Make the report of the runs at `paths`; of one run it is by default `report.html` in its folder.

    Equal runs give equal bytes. Raises `InputError` for runs that cannot be reported together, or for
    more than a browser opens, and whatever `pbclient score` raises of a damaged run.
    """
    if not paths:
        raise InputError("A report needs a run: name the folder that `pbclient run` has made.")
    runs = read_reported(paths)
    comparison = compare(paths, force=force) if len(paths) > 1 else None
    out = out or (paths[0] / "report.html" if len(paths) == 1 else Path("report.html"))
    if out.is_dir():
        raise InputError(f"{out} is a folder: name a file with --out, such as {out / 'report.html'}.")
    pictures = _pictures(runs, comparison, images, data)
    folder = f"{out.stem}_files" if images == ALL else None
    page = _rendered(runs, comparison, pictures, folder).encode("utf-8", "replace")
    if len(page) > MOST_BYTES:
        without = "" if images == NO else ", or leave the frames out with --images none"
        raise InputError(
            f"The report would be {len(page) / 1e6:.0f} MB, and browsers fail to open more than "
            f"{MOST_BYTES // 10**6}: name fewer runs at once{without}."
        )
    if folder is not None:
        pictures.frames.write(out.with_name(folder))
    out.parent.mkdir(parents=True, exist_ok=True)
    replace_file(out, [page])
    return Written(out, len(page), list(_notes(page, pictures, images)))


def _pictures(
    runs: Sequence[Reported], comparison: Comparison | None, images: str, data: Path | None
) -> Pictures:
    """Step every episode again where its data are at hand, and take frames as long as there is room."""
    opened = {run.label: Views.of(run, data) for run in runs}
    episodes: dict[str, dict[Identity, Sequence[View]]] = {run.label: {} for run in runs}
    names: dict[str, dict[tuple[Identity, int], str]] = {run.label: {} for run in runs}
    frames = Frames(None if images == ALL else BUDGET)
    try:
        for run in runs:
            if views := opened[run.label]:
                episodes[run.label] = {identity(each): views.episode(each) for each in run.episodes}
        if images == SOME:
            text = sum(len(packed(island(run, episodes[run.label], {}))) for run in runs)
            frames.budget = max(0, min(BUDGET, PAGE_BYTES - PAGE_ROOM - text))
        flips = [
            which for pair in (comparison or {}).get("flips", ()) for way in _WAYS for which in pair[way]
        ]
        for which in wanted(runs, flips) if images != NO else ():
            for label, views in opened.items():
                for number, view in enumerate(episodes[label].get(which, ()) if views else ()):
                    if views and (name := frames.add(views.data, view)):
                        names[label][which, number] = name
    finally:
        for views in opened.values():
            if views:
                views.close()
    return Pictures(frames, names, episodes, [label for label, views in opened.items() if views is None])


_WAYS = ("became_right", "became_wrong")


def _rendered(
    runs: Sequence[Reported], comparison: Comparison | None, pictures: Pictures, folder: str | None
) -> str:
    islands = [packed(island(run, pictures.views[run.label], pictures.names[run.label])) for run in runs]
    title = f"{runs[0].model} on ProactiveBench" if len(runs) == 1 else f"{len(runs)} runs on ProactiveBench"
    return rendered(
        title,
        _heads(runs),
        list(sections(runs, comparison)),
        lead=[each for run in runs for each in lead(run, runs)],
        islands=islands,
        frames="" if folder else pictures.frames.island(),
        folder=folder,
        remarks=list(_remarks(pictures)),
    )


def rendered(
    title: str,
    heads: Sequence[tuple[str, Sequence[str]]],
    parts: Sequence[Section],
    *,
    lead: Sequence[str] = (),
    islands: Sequence[str] = (),
    frames: str = "",
    folder: str | None = None,
    remarks: Sequence[str] = (),
) -> str:
    """A page of these sections, with an explorer where there are `islands` of runs.

    `lead` is what to know first; `heads` are facts: a term, and its value for each run, or one for all.
    `frames` are those in the page, `folder` is where others lie beside it.
    """
    style, script = _source("style.css"), '"use strict";\n' + "".join(_source(f"script/{n}") for n in SCRIPTS)
    beside = " 'self' file:" if folder else ""
    policy = (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; "
        f"img-src data: blob:{beside}; base-uri 'none'; form-action 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    )
    return _template().render(
        title=title,
        lead=lead,
        heads=heads,
        sections=parts,
        islands=islands,
        frames=frames,
        folder=folder,
        remarks=remarks,
        policy=policy,
        style=Markup(style),
        script=Markup(script),
    )


@cache
def _template() -> jinja2.Template:
    # Not `select_autoescape`, which leaves a file that ends in .j2 as it is.
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"visible": visible, "aligned": _aligned}
    return environment.from_string(_source("page.html.j2"))


def _source(name: str) -> str:
    return files("pbclient.report.html").joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _aligned(cell: str) -> str:
    """A cell of a table whose padding keeps the width of the digits that it stands for."""
    return visible(cell.strip()).replace("[ ", "[\u2007").replace(" ", "\u00a0")


def _heads(runs: Sequence[Reported]) -> list[tuple[str, Sequence[str]]]:
    """The facts of the runs, by term; one value where it is the same for all."""
    told = [dict(facts(run)) for run in runs]
    terms = dict.fromkeys(term for of in told for term in of)
    rows = [(term, [of.get(term, "-") for of in told]) for term in terms]
    names: list[tuple[str, Sequence[str]]] = [("Run", [visible(run.label) for run in runs])]
    return names + [(term, values[:1] if len(set(values)) == 1 else values) for term, values in rows]


def _remarks(pictures: Pictures) -> Iterator[str]:
    """What a reader of the page has to know of its frames."""
    frames = pictures.frames
    if pictures.without_data:
        yield (
            "The data that was played was not at hand when this page was made: frames are named and not "
            f"shown, and right options are not marked ({', '.join(pictures.without_data)})."
        )
    if frames.full:
        yield "Frames are a choice that keeps the page small: episodes that differ, and a seeded sample."
    if frames.missing:
        yield f"Frames that could not be read and are only named: {len(frames.missing):,}."
    if frames.pictures:
        yield (
            "Frames belong to the data sets they are from, under their licences: publish a page without them "
            "(--images none) unless these let you."
        )


def _notes(page: bytes, pictures: Pictures, images: str) -> Iterator[str]:
    """The same for who makes the page."""
    if pictures.without_data and images != NO:
        labels = ", ".join(pictures.without_data)
        yield f"No frames of {labels}: the data they played are not here (--data names their folder)."
    if missing := pictures.frames.missing:
        first = next(iter(missing))
        yield f"{len(missing):,} frames could not be read, {first} first: they are named on the page."
    if len(page) > PAGE_BYTES:
        yield f"{len(page) / 1e6:.0f} MB is more than mail takes: name fewer runs at once."
