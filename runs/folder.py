"""One folder for each run: its manifest, the lock of its writer, and where the rest lies.

    results/<name>/run.json         the manifest: what was asked
                   episodes.jsonl   episodes.py
                   ledger.jsonl     ledger.py
                   summary.json     made from these by others
                   run.lock         held by the process that writes, and so is the ledger; dies with it

The manifest is a JSON object. `config` (whatever defines the run) and `data` must be the same in
each life of a run, `id` and `created` are those of the first; the rest is what the last life said.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

from runs.errors import ConfigDiffers, NotARun, RunBroken, RunBusy, RunTooNew
from runs.files import is_leftover, leftovers, replace_file, storage

SCHEMA = 1
SHOWN = 200  # characters of a value in an error message


class RunFolder:
    """A run on disk. `start` opens it for the one who writes, `read` for those who only look.

    `continued` says whether there was a run before this life.
    """

    def __init__(self, path: Path, manifest: dict[str, Any], locks: list[int], continued: bool) -> None:
        self.path = path
        self.episodes = path / "episodes.jsonl"
        self.ledger = path / "ledger.jsonl"
        self.summary = path / "summary.json"
        self.continued = continued
        self.manifest: Mapping[str, Any] = manifest
        self._locks = locks

    @classmethod
    def start(
        cls, path: Path, manifest: Mapping[str, Any], defaults: Mapping[str, Any] = MappingProxyType({})
    ) -> Self:
        """Create the run, or continue the one that is there if it asked the same.

        `defaults` says what a `config` means that is silent on an option; null where it does not.
        Raises `ConfigDiffers`, `RunBusy`, `NotARun`, `RunTooNew`, `RunBroken` or `StorageFailed`.
        """
        new = _normal(manifest)
        _refuse_other_content(path)
        with storage(path, "created"):
            path.mkdir(parents=True, exist_ok=True)
        locks = [_lock(path, path / "run.lock")]
        try:
            # Again, under the lock: the first look was only to leave no lock in somebody else's folder.
            old = _load(path) if _refuse_other_content(path) else None
            ledger = path / "ledger.jsonl"
            # A run has a ledger before it has a manifest: one that is missing later was taken away.
            if old and not ledger.exists():
                raise RunBroken(
                    f"{ledger} is missing, so what the run has spent is not known: "
                    "put the file back, or start anew in another folder."
                )
            with storage(ledger, "created"):
                ledger.touch()
            # Anybody may take away a file that is only a lock: the ledger's own lock holds without it.
            locks.append(_lock(path, ledger))
            _sign(locks[0])
            if old:
                _refuse_another_run(path, old, new, defaults)
                new = {**old, **new, "id": old["id"], "created": old.get("created", new["created"])}
            folder = cls(path, new, locks, old is not None)
            for file in leftovers(path / "run.json") + leftovers(folder.episodes):
                with suppress(OSError):
                    file.unlink()
            folder.update()
        except BaseException:
            _unlock(locks)
            raise
        return folder

    @classmethod
    def read(cls, path: Path) -> Self:
        """Open without a lock. Raises `NotARun`, `RunTooNew`, `RunBroken` or `StorageFailed`."""
        with storage(path, "read"):
            missing = not (path / "run.json").exists()
            what = "is a file" if path.is_file() else "is not a run folder (it has no run.json)"
        if missing:
            raise NotARun(f"{path} {what}: name a folder that `pbclient run` has made.")
        return cls(path, _load(path), [], True)

    def refuse_another(self, manifest: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
        """Raises `ConfigDiffers` where `start` would."""
        _refuse_another_run(self.path, self.manifest, _normal(manifest), defaults)

    def update(self, **fields: Any) -> None:
        """Set fields of the manifest and write it anew; if that fails, neither has changed."""
        if not self._locks:
            raise ValueError("the run folder is not open for writing")
        manifest = _normal({**self.manifest, **fields})
        text = json.dumps(manifest, indent=2, allow_nan=False) + "\n"
        replace_file(self.path / "run.json", [text.encode("ascii")])
        self.manifest = manifest

    def discard(self) -> None:
        """Take the run off the disk; for one that came to nothing in its first life."""
        if not self._locks or self.continued:
            raise ValueError("only a new run that is open for writing can be discarded")
        shutil.rmtree(self.path)

    def close(self) -> None:
        """Let another process write."""
        if self._locks:
            _unlock(self._locks)
            self._locks = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _normal(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest as JSON gives it back (a tuple is a list), with all that it must have."""
    normal: dict[str, Any] = json.loads(json.dumps({**manifest, "schema": SCHEMA}, allow_nan=False))
    normal.setdefault("created", datetime.now(UTC).isoformat(timespec="seconds"))
    if complaint := _complaint(normal):
        raise ValueError(complaint)
    return normal


def _complaint(manifest: dict[str, Any]) -> str | None:
    if not isinstance(manifest.get("id"), str) or not manifest["id"]:
        return "it has no id"
    if not isinstance(manifest.get("config"), dict):
        return "it has no config"
    return None


def _refuse_other_content(path: Path) -> bool:
    """Whether there is a run at `path`. Raises `NotARun` if something else is."""
    with storage(path, "read"):
        if path.exists() and not path.is_dir():
            raise NotARun(f"{path} is a file: name a folder for the run.")
        names = {entry.name for entry in path.iterdir()} if path.exists() else set()
        others = {name for name in names if not _is_of_no_run(path / name)}
        # Another process may have begun its run after the first look.
        if "run.json" in names or (others and (path / "run.json").exists()):
            return True
    if others:
        raise NotARun(
            f"{path} holds other things ({min(others)}) and no run.json: name a new or an empty folder."
        )
    return False


def _is_of_no_run(file: Path) -> bool:
    """Whether a start that was killed before its manifest was there may have left it, and it can go."""
    try:
        unused = file.name == "ledger.jsonl" and file.stat().st_size == 0
    except FileNotFoundError:
        return True
    return unused or file.name == "run.lock" or is_leftover(file.name, "run.json")


def _load(path: Path) -> dict[str, Any]:
    file = path / "run.json"
    with storage(file, "read"):
        data = file.read_bytes()
    try:
        manifest = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError):
        raise _broken(file, "it is not JSON") from None
    if not isinstance(manifest, dict):
        raise _broken(file, "it is no JSON object")
    schema = manifest.get("schema")
    if not isinstance(schema, int) or isinstance(schema, bool) or schema < 1:
        raise _broken(file, "it has no schema number")
    if schema > SCHEMA:
        raise RunTooNew(
            f"{file} has schema {schema} and this version reads up to {SCHEMA}: update pbclient, "
            "or name another folder."
        )
    from runs.schema import Manifest, complaint  # its library takes as long to load as all of this package

    if wrong := _complaint(manifest) or complaint(manifest, Manifest):
        raise _broken(file, wrong)
    return manifest


def _broken(file: Path, complaint: str) -> RunBroken:
    return RunBroken(f"{file} is damaged ({complaint}): put it back from a copy, or name another folder.")


def _refuse_another_run(
    path: Path, old: Mapping[str, Any], new: Mapping[str, Any], defaults: Mapping[str, Any]
) -> None:
    # A later version may know more options than the one that began the run.
    was, now = ({**defaults, **manifest["config"]} for manifest in (old, new))
    names = sorted(name for name in was.keys() | now.keys() if was.get(name) != now.get(name))
    parts = [f"{name} {_short(was.get(name))} -> {_short(now.get(name))}" for name in names]
    if _digest(old) != _digest(new):
        names.append("data")
        parts.append(f"the data differ, {_short(_digest(old))} -> {_short(_digest(new))}")
    if names:
        raise ConfigDiffers(
            f"{path} holds a run of another configuration ({'; '.join(parts)}): "
            "name another folder with --out, or give the old value.",
            tuple(names),
        )


def _digest(manifest: Mapping[str, Any]) -> Any:
    # Where the data lie may change from life to life; what they are may not.
    data = manifest.get("data")
    return data["digest"] if isinstance(data, dict) and "digest" in data else data


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def _lock(path: Path, file: Path) -> int:
    """Lock `file` of the run at `path`. Raises `RunBusy`."""
    with storage(file, "locked"):
        fd = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            text = os.pread(fd, 20, 0)
            os.close(fd)
            pid = int(text) if text.isdigit() else None
            who = "Another process" if pid is None else f"Process {pid}"
            raise RunBusy(
                f"{who} is writing to {path}: wait until it has ended, or name another folder.", pid
            ) from None
        except BaseException:
            os.close(fd)
            raise
    return fd


def _sign(fd: int) -> None:
    """Say in a lock file who holds it."""
    os.ftruncate(fd, 0)
    os.write(fd, str(os.getpid()).encode("ascii"))


def _unlock(fds: list[int]) -> None:
    with suppress(OSError):
        os.ftruncate(fds[0], 0)
    for fd in fds:
        os.close(fd)
