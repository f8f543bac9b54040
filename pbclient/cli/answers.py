"""What `pbclient cache` says: of the store as a whole, and of why one request missed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from cache import MISS, Entry, Json, Store, nearest
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
        f"{stats.entries} entries, {stats.bytes / 1e6:.1f} MB on disk",
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
    """Delete all entries, or those of a provider or a model; returns how many."""

    def doomed(entry: Entry) -> bool:
        asked = entry.asked.get("provider") if isinstance(entry.asked, dict) else None
        identity = asked if isinstance(asked, dict) else {}
        return provider in (None, identity.get("provider")) and model in (None, identity.get("model"))

    with _store(cache_dir) as store:
        return store.clear(None if provider is None and model is None else doomed)


def why_lines(cache_dir: Path | None, what: str) -> list[str]:
    """For each request of a run, or for one key: what sets it apart from the nearest other one."""
    with _store(cache_dir) as store:
        if (Path(what) / "run.json").is_file():
            return list(_why_run(store, Path(what)))
        key = _whole_key(store, what)
        entry = store.get(key)
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


def _whole_key(store: Store, given: str) -> str:
    """The key that starts with `given`."""
    if store.get(given) is not MISS:
        return given
    matching = [key for key, _ in store.entries() if key.startswith(given)]
    if len(matching) != 1:
        how_many = "no stored key starts" if not matching else f"{len(matching)} stored keys start"
        raise InputError(f"{given!r} is neither a run folder nor a key: {how_many} with it.")
    return matching[0]


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
