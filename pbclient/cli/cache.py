"""`pbclient cache`: the commands that look into the stored answers."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pbclient.cli.options import FOLDER
from pbclient.errors import InputError
from pbclient.report.terminal import say

if TYPE_CHECKING:
    from cache import Entry, Json, Store

SHOWN = 10  # differing paths of one pair of requests that are worth reading

_CACHE_DIR = click.option(
    "--cache-dir", type=FOLDER, help="Where answers are kept; by default the user's cache folder."
)


@click.group()
def cache() -> None:
    """Look into the stored answers."""


@contextmanager
def _store(cache_dir: Path | None) -> Iterator[Store]:
    from cache import Store
    from pbclient.calls.cached import default_cache_dir

    folder = cache_dir or default_cache_dir()
    # Only looking must not make a cache where there is none.
    if not folder.is_dir():
        raise InputError(f"There is no cache at {folder}: --cache-dir names another folder.")
    with Store(folder) as store:
        yield store


@cache.command("stats")
@_CACHE_DIR
def cache_stats(cache_dir: Path | None) -> None:
    """How many entries there are, how large and how old: answers, and what was learned of models."""
    from pbclient.calls.cached import default_cache_dir

    with _store(cache_dir) as store:
        stats = store.stats()
    say(str(cache_dir or default_cache_dir()))
    say(f"{stats.entries} entries, {stats.bytes / 1e6:.1f} MB on disk")
    if stats.oldest is not None and stats.newest is not None:
        say(f"from {_day(stats.oldest)} to {_day(stats.newest)}")


@cache.command("check")
@_CACHE_DIR
@click.option("--fix", is_flag=True, help="Delete what cannot be read.")
def cache_check(cache_dir: Path | None, fix: bool) -> None:
    """Read every entry; exit code 4 if one is corrupt."""
    with _store(cache_dir) as store:
        problems = store.check(fix)
    for problem in problems:
        say(f"{problem.key}: {problem.reason} ({'deleted' if fix else '--fix deletes it'})")
    if not problems:
        say("Every entry is sound.")
    sys.exit(4 if problems and not fix else 0)


@cache.command("clear")
@_CACHE_DIR
@click.option("--provider", help="Only the answers of this provider.")
@click.option("--model", help="Only the answers of this model.")
@click.confirmation_option(prompt="These answers were paid for. Delete them?")
def cache_clear(cache_dir: Path | None, provider: str | None, model: str | None) -> None:
    """Delete stored answers."""

    def doomed(entry: Entry) -> bool:
        asked = entry.asked.get("provider") if isinstance(entry.asked, dict) else None
        identity = asked if isinstance(asked, dict) else {}
        return provider in (None, identity.get("provider")) and model in (None, identity.get("model"))

    with _store(cache_dir) as store:
        cleared = store.clear(None if provider is None and model is None else doomed)
    say(f"{cleared} entries deleted.")


@cache.command("why")
@_CACHE_DIR
@click.argument("what", metavar="RUN|KEY")
def cache_why(cache_dir: Path | None, what: str) -> None:
    """Why a request missed: the nearest stored one and the paths that differ."""
    with _store(cache_dir) as store:
        lines = _why_run(store, Path(what)) if (Path(what) / "run.json").is_file() else _why_key(store, what)
        say("\n".join(lines))


def _why_key(store: Store, given: str) -> list[str]:
    """What sets the request whose key starts with `given` apart from the nearest other one."""
    from cache import MISS

    key, entry = given, store.get(given)
    if entry is MISS:
        matching = [key for key, _ in store.entries() if key.startswith(given)]
        if len(matching) != 1:
            how_many = "no stored key starts" if not matching else f"{len(matching)} stored keys start"
            raise InputError(f"{given!r} is neither a run folder nor a key: {how_many} with it.")
        key, entry = matching[0], store.get(matching[0])
    if entry is MISS:
        raise InputError(f"No answer is stored under {key}.")
    lines = _compared(store, key, entry.asked)
    return lines or [f"{key[:12]} was asked first: there is no other request to compare it with."]


def _why_run(store: Store, path: Path) -> Iterator[str]:
    """Compare what a run bought with what was there before it, one line group a data set.

    The requests of one run differ from an earlier run's all in the same way: the first miss
    of each data set tells it. A miss under --offline has no answer and so no key: what its
    episode says is all there is of it.
    """
    from cache import MISS
    from runs import Episodes, RunFolder

    folder = RunFolder.read(path)
    bought: dict[str, str] = {}
    failures: dict[str, None] = {}
    asked = False
    for episode in Episodes(folder.episodes).read():
        if "error" in episode and episode["outcome"] == "failed" and len(failures) < SHOWN:
            failures[str(episode["error"])] = None
        for turn in episode.get("turns", []):
            asked = asked or bool(turn.get("key"))
            if turn.get("key") and not turn.get("cached"):
                bought.setdefault(episode["dataset"], turn["key"])
    if not bought and not failures:
        yield "Every answer of this run came out of the cache." if asked else "This run asked no model."
    yield from failures
    for dataset, key in bought.items():
        entry = store.get(key)
        if entry is MISS:
            yield f"{dataset}: {key[:12]} is not in this cache; --cache-dir names another folder."
        elif lines := _compared(store, key, entry.asked, not_of=str(folder.manifest["id"])):
            yield f"{dataset}:"
            yield from (f"  {line}" for line in lines)
        else:
            yield f"{dataset}: no earlier run asked anything like {key[:12]}."


def _compared(store: Store, key: str, asked: Json, not_of: str | None = None) -> list[str]:
    """How a request differs from the nearest other one, of another run than `not_of`; empty when alone."""
    from cache import nearest
    from pbclient.calls.key import is_request

    def others() -> Iterator[tuple[str, Entry]]:
        for other, entry in store.entries():
            run = entry.answer.get("run") if isinstance(entry.answer, dict) else None
            # What was learned of a model stands among the answers, but nobody asked for it.
            if is_request(entry.asked) and other != key and (not_of is None or run != not_of):
                yield other, entry

    found = nearest(others(), asked)
    if found is None:
        return []
    other, entry, differences = found
    more = [f"  and {len(differences) - SHOWN} more"] if len(differences) > SHOWN else []
    head = f"{key[:12]} is nearest to {other[:12]} (stored {_day(entry.stored)}), and differs in:"
    return [head, *(f"  {difference}" for difference in differences[:SHOWN]), *more]


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
