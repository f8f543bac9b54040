"""Record each finished episode: on disk, in the progress and in the summary.

All three at once, so that a run ends without reading again what it has just written. What earlier
lives of the run have written is read once, where it is resumed.
"""

from __future__ import annotations

from typing import Any, Self

from pbclient.money.books import Books
from pbclient.progress import Progress
from pbclient.scores.rescore import judge_lines
from pbclient.scores.summary import Tally, dump
from runs import Balance, Episode, Episodes, Identity, RunFolder, replace_file


class Recording:
    """The episodes of a run folder that is open for writing. `resume` comes before all else."""

    def __init__(self, folder: RunFolder, progress: Progress) -> None:
        self._folder = folder
        self._progress = progress
        self._episodes = Episodes(folder.episodes)
        self._tally = Tally(folder.manifest)

    def resume(self, retry: frozenset[str], books: Books) -> set[Identity]:
        """Book and count what is finished; its identities are returned. Outcomes in `retry` are not.

        Raises `InputError` for a line that is not what was recorded: nothing is bought on its word.
        """

        def take(episode: Episode) -> None:
            self._count(episode)
            books.recorded(episode)

        self._tally.compare(judge_lines(self._folder.path))
        return self._episodes.keep(retry, take)

    def append(self, episode: Episode) -> None:
        """Keep an episode that has just been played; once this returns, no kill can lose it."""
        self._episodes.append(episode)
        self._count(episode)

    def summarize(self, ledger: Balance, limit: float | None) -> dict[str, Any]:
        """Write summary.json, and return what is in it."""
        summary = self._tally.summary(ledger, limit)
        replace_file(self._folder.summary, [dump(summary)])
        return summary

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._episodes.close()

    def _count(self, episode: Episode) -> None:
        self._tally.add(episode)
        self._progress.count(episode)
