"""What `pbclient cache` says: of the store as a whole, and of why one request missed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from cache import MISS, Difference, Entry, Json, Store, nearest
from pbclient.calls.cached import default_cache_dir
from pbclient.calls.key import is_request
from pbclient.errors import InputError
from runs import Episodes, RunFolder

SHOWN = 10  # differing paths of one pair of requests that are worth reading


@contextmanager
def _store(cache_dir: Path | None) -> Iterator[Store]:
    folder = cache_dir or default_cache_dir()
    # Only looking must not make a cache where there is none.
    if not folder.is_dir():
        raise InputError(f"There is no cache at {folder}: --cache-dir names another folder.")
    with Store(folder) as store:
        yield store


def stats_lines(cache_dir: Path | None) -> list[str]:
    """Where the answers are, how many, how large and how old."""
    with _store(cache_dir) as store:
        stats = store.stats()
    lines = [
        f"{cache_dir or default_cache_dir()}",
        f"{stats.entries} answers, {stats.bytes / 1e6:.1f} MB on disk",
    ]
    if stats.oldest is not None and stats.newest is not None:
        lines.append(f"from {_day(stats.oldest)} to {_day(stats.newest)}")
    return lines


def check_lines(cache_dir: Path | None, fix: bool) -> list[str]:
    """One line for each entry that cannot be read or is not what its key says."""
    with _store(cache_dir) as store:
        problems = store.check(fix)
    done = "deleted" if fix else "--fix deletes it"
    return [f"{problem.key}: {problem.reason} ({done})" for problem in problems]


def clear(cache_dir: Path | None, provider: str | None, model: str | None) -> int:
    """Delete all answers, or those of a provider or a model; returns how many."""

    def doomed(entry: Entry) -> bool:
        asked = _identity(entry.asked)
        return (provider is None or asked.get("provider") == provider) and (
            model is None or asked.get("model") == model
        )

    with _store(cache_dir) as store:
        return store.clear(None if provider is None and model is None else doomed)


def why_lines(cache_dir: Path | None, what: str) -> list[str]:
    """For each request of a run, or for one key: what sets it apart from the nearest other one."""
    with _store(cache_dir) as store:
        if (Path(what) / "run.json").is_file():
            return list(_why_run(store, Path(what)))
        return _why_key(store, _whole_key(store, what))


def _why_key(store: Store, key: str) -> list[str]:
    entry = store.get(key)
    if entry is MISS:
        raise InputError(f"No answer is stored under {key}.")
    found = _nearest(store, entry.asked, {key})
    if found is None:
        return [f"{key[:12]} was asked first: there is no other request to compare it with."]
    return _explained(key, *found)


def _why_run(store: Store, path: Path) -> Iterator[str]:
    """Compare what a run bought with what was there before it, one line group a data set.

    The requests of one run differ from an earlier run's all in the same way: the first miss
    of each data set tells it.
    """
    folder = RunFolder.read(path)
    run = str(folder.manifest["id"])
    bought, asked, failures = _first_misses(folder)
    if not bought and not failures:
        yield "Every answer of this run came out of the cache." if asked else "This run asked no model."
    yield from failures
    for dataset, key in bought.items():
        entry = store.get(key)
        if entry is MISS:
            yield f"{dataset}: {key[:12]} is not in this cache; --cache-dir names another folder."
            continue
        found = _nearest(store, entry.asked, {key}, not_of=run)
        if found is None:
            yield f"{dataset}: no earlier run asked anything like {key[:12]}."
            continue
        yield f"{dataset}:"
        yield from (f"  {line}" for line in _explained(key, *found))


def _first_misses(folder: RunFolder) -> tuple[dict[str, str], bool, list[str]]:
    """The first key that each data set bought, whether anything was asked at all, and why episodes failed.

    A miss under --offline has no answer and so no key: what its episode says is all there is of it.
    """
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
    return bought, asked, list(failures)


def _nearest(
    store: Store, asked: Json, without: set[str], not_of: str | None = None
) -> tuple[str, Entry, list[Difference]] | None:
    return nearest(_others(store.entries(), without, not_of), asked)


def _others(
    entries: Iterable[tuple[str, Entry]], without: set[str], not_of: str | None
) -> Iterator[tuple[str, Entry]]:
    for key, entry in entries:
        same_run = not_of is not None and isinstance(entry.answer, dict) and entry.answer.get("run") == not_of
        # What was learned of a model stands among the answers, but nobody asked for it.
        if is_request(entry.asked) and key not in without and not same_run:
            yield key, entry


def _explained(key: str, other: str, entry: Entry, found: list[Difference]) -> list[str]:
    more = [] if len(found) <= SHOWN else [f"  and {len(found) - SHOWN} more"]
    head = f"{key[:12]} is nearest to {other[:12]} (stored {_day(entry.stored)}), and differs in:"
    return [head, *(f"  {difference}" for difference in found[:SHOWN]), *more]


def _whole_key(store: Store, given: str) -> str:
    """The key that starts with `given`."""
    if store.get(given) is not MISS:
        return given
    matching = [key for key, _ in store.entries() if key.startswith(given)]
    if len(matching) != 1:
        found = "no stored key starts" if not matching else f"{len(matching)} stored keys start"
        raise InputError(f"{given!r} is neither a run folder nor a key: {found} with it.")
    return matching[0]


def _identity(asked: Json) -> dict[str, Json]:
    provider = asked.get("provider") if isinstance(asked, dict) else None
    return provider if isinstance(provider, dict) else {}


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
