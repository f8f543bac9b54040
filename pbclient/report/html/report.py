"""`pbclient report`: recorded runs as one page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pbclient.compare.comparison import Comparison, compare
from pbclient.errors import InputError
from pbclient.report.html.frames import BUDGET, Frames, View, Views, wanted
from pbclient.report.html.island import island, packed
from pbclient.report.html.page import PAGE_BYTES, Page, write
from pbclient.report.html.reported import Reported, facts, read_reported
from pbclient.report.html.sections import lead, sections
from pbclient.report.html.text import visible
from runs import Identity, identity

SOME, ALL, NO = "some", "all", "none"
_ROOM = 1_500_000  # bytes for all but episodes and frames
_FLIPS = ("became_right", "became_wrong")


@dataclass(frozen=True)
class Written:
    """Where a report is, and what there is to say about it to who made it."""

    path: Path
    size: int
    notes: Sequence[str]


@dataclass(frozen=True)
class _Explored:
    """A run for the explorer: what its turns showed, and the island whose turns name their frames."""

    run: Reported
    views: Views | None
    seen: dict[Identity, list[View]]
    island: dict[str, Any]

    def turns(self) -> dict[Identity, list[dict[str, Any]]]:
        return {identity(each): each.get("turns", []) for each in self.island["episodes"]}


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
    comparison = None
    if len(runs) > 1:
        comparison = compare(paths, force=force)
        for run, entry in zip(runs, comparison["runs"], strict=True):
            entry["label"] = run.label
    out = out or (paths[0] / "report.html" if len(paths) == 1 else Path("report.html"))
    with ExitStack() as stack:
        explored = [_explored(run, data, stack) for run in runs]
        frames = _frames(explored, comparison, images)
    without = [each.run.label for each in explored if each.views is None and each.run.episodes]
    folder = f"{out.stem}_files" if images == ALL else None
    page = Page(
        title=f"{runs[0].model if len(runs) == 1 else f'{len(runs)} runs'} on ProactiveBench",
        lead=list(lead(runs, comparison)),
        heads=_heads(runs),
        sections=list(sections(runs, comparison)),
        islands=[packed(each.island) for each in explored],
        remarks=list(_remarks(frames, without, images)),
        frames="" if folder else frames.island(),
        folder=folder,
    )
    size = write(page, out)
    if folder is not None:
        frames.write(out.with_name(folder))
    return Written(out, size, list(_notes(frames, without if images != NO else (), size)))


def _explored(run: Reported, data: Path | None, stack: ExitStack) -> _Explored:
    views, seen = Views.of(run, data), {}
    if views is not None:
        stack.callback(views.close)
        seen = {identity(each): views.episode(each) for each in run.episodes}
    return _Explored(run, views, seen, island(run, seen))


def _frames(explored: Sequence[_Explored], comparison: Comparison | None, images: str) -> Frames:
    """The frames of the page, as long as there is room, named in the turns that show them."""
    room = 0
    if images == SOME and any(each.views for each in explored):
        room = PAGE_BYTES - _ROOM - sum(len(packed(each.island)) for each in explored)
    frames = Frames(None if images == ALL else min(BUDGET, room))
    flips = [which for pair in (comparison or {}).get("flips", ()) for way in _FLIPS for which in pair[way]]
    turns = [each.turns() for each in explored]
    for which in wanted([each.run for each in explored], flips) if images != NO else ():
        for each, own in zip(explored, turns, strict=True):
            for view, turn in zip(each.seen.get(which, ()), own.get(which, ()), strict=False):
                if each.views and (name := frames.add(each.views.data, view)):
                    turn["frame"] = name
    return frames


def _heads(runs: Sequence[Reported]) -> list[tuple[str, Sequence[str]]]:
    """The facts of the runs, by term; one value where it is the same for all."""
    told = [dict(facts(run)) for run in runs]
    terms = dict.fromkeys(term for of in told for term in of)
    rows = [(term, [of.get(term, "-") for of in told]) for term in terms]
    names: list[tuple[str, Sequence[str]]] = [("Run", [visible(run.label) for run in runs])]
    return names + [(term, values[:1] if len(set(values)) == 1 else values) for term, values in rows]


def _remarks(frames: Frames, without: Sequence[str], images: str) -> Iterator[str]:
    """What a reader of the page has to know of its frames."""
    if without:
        yield (
            "The data that was played was not at hand when this page was made: frames are named and not "
            f"shown, and valid options are not marked ({', '.join(without)})."
        )
    if images == NO:
        yield "Frames were left out: they are named."
    if frames.full:
        yield "Frames are a choice that keeps the page small: episodes that differ, and a seeded sample."
    if frames.missing:
        yield f"Frames that could not be read and are only named: {len(frames.missing):,}."
    if frames.pictures:
        yield (
            "Frames belong to the data sets they are from, under their licences: publish a page without them "
            "(--images none) unless these let you."
        )


def _notes(frames: Frames, without: Sequence[str], size: int) -> Iterator[str]:
    """The same for who makes the page."""
    if without:
        labels = ", ".join(without)
        yield f"No frames of {labels}: the data they played are not here (--data names their folder)."
    if frames.missing:
        first = visible(next(iter(frames.missing)))
        yield f"{len(frames.missing):,} frames could not be read, {first} first: they are named on the page."
    if size > PAGE_BYTES:
        yield f"{size / 1e6:.0f} MB is more than mail takes: name fewer runs at once."
