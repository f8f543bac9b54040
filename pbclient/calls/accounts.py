"""One rate controller for one account in an event loop, and what it learned, kept for the next run.

An account is a provider, endpoint and model, and the key with which it is asked: a model that is its own
judge, and runs beside each other, share the limits of one. What was learned is kept without the key.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakKeyDictionary, WeakValueDictionary

from cache import digest
from pbclient.calls.rate import RateController
from pbclient.models.model import Model
from runs import RunError, replace_file

# Most calls at once to an engine on this machine: longer queues there would only run into --timeout.
AT_ONCE_HERE = 64

type _Accounts = WeakValueDictionary[str, RateController]
_of_loops: WeakKeyDictionary[asyncio.AbstractEventLoop, _Accounts] = WeakKeyDictionary()


@dataclass(frozen=True)
class Account:
    """A controller, and the file in which it is kept what it learned; None where nothing is to learn."""

    controller: RateController
    file: Path | None

    @classmethod
    def of(cls, model: Model, ceiling: int, folder: Path) -> Account:
        """The account of `model`, with at most `ceiling` calls at once; files lie in `folder`."""
        if model.target is None:
            engine = model.choice.engine
            here = max(AT_ONCE_HERE, 2 * (engine.batch or engine.slots or 0))
            return cls(RateController(min(ceiling, here), queues=True), None)
        name = digest(dict(model.identity))
        key = hashlib.sha256((model.target.key or "").encode()).hexdigest()
        accounts = _of_loops.setdefault(asyncio.get_running_loop(), WeakValueDictionary())
        controller = accounts.get(name + key)
        account = cls(controller or RateController(ceiling), folder / f"{name}.json")
        if controller is None:
            accounts[name + key] = account.controller
            account._recall()
        account.controller.raise_to(ceiling)
        return account

    def keep(self) -> None:
        """Write down what was learned, if anything was; that it cannot be written stops nothing."""
        if self.file is not None and self.controller.answers:
            with suppress(OSError, RunError):
                self.file.parent.mkdir(exist_ok=True)
                replace_file(self.file, [json.dumps(self.controller.learned()).encode()])

    def _recall(self) -> None:
        assert self.file is not None
        # It is a guess: what cannot be read, or holds something else, is none.
        with suppress(OSError, ValueError, TypeError, LookupError, ArithmeticError, RecursionError):
            self.controller.begin_with(json.loads(self.file.read_bytes()))
