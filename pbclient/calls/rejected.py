"""Drop options the model rejects, and remember that it does.

A dropped option changes the key, since the request that is sent is another. What was learned is
kept in the answer store, so that a later run (a fully cached one above all) starts with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from cache import MISS, CorruptEntry, Store, digest
from providers import Json, ParameterRejected, Provider, Request, Response

# The bound of every call: it may be sent under its other name but never be left out.
OUTPUT_LIMIT = "max_tokens"
ITS_OTHER_NAME = "max_completion_tokens"


@dataclass
class DropRejected:
    """A provider that leaves out (or renames) what the model has rejected, and asks again.

    `changes` maps an option to its new name, or to None when it is dropped; `on_rejected` is called
    with each new one and the provider's words.
    """

    inner: Provider
    store: Store
    identity: Mapping[str, Json]
    on_rejected: Callable[[str, str | None, str], None] = lambda name, instead, why: None
    changes: dict[str, str | None] = field(default_factory=dict)

    def load(self) -> None:
        """Take up what earlier runs learned of this model."""
        try:
            entry = self.store.get(digest(self._key()))
        except CorruptEntry:
            return
        if entry is not MISS and isinstance(entry.answer, dict):
            for name, instead in entry.answer.items():
                if instead is None or isinstance(instead, str):
                    self.changes[name] = instead
        if self.changes.get(OUTPUT_LIMIT, ITS_OTHER_NAME) != ITS_OTHER_NAME:
            del self.changes[OUTPUT_LIMIT]

    async def complete(self, request: Request) -> Response:
        """One answer. While nothing is known to be rejected, the request goes on as it is."""
        while True:
            sent = (
                request._replace(params=self._without_rejected(request.params)) if self.changes else request
            )
            try:
                return await self.inner.complete(sent)
            except ParameterRejected as error:
                await self._learn(error, request)
                if self._without_rejected(request.params) == sent.params:
                    raise  # nothing changed by it, and nothing would the next time

    def _without_rejected(self, params: Mapping[str, Json]) -> dict[str, Json]:
        kept: dict[str, Json] = {}
        for name, value in params.items():
            sent_as = self.changes.get(name, name)
            if sent_as is not None:
                kept[sent_as] = value
        return kept

    async def _learn(self, error: ParameterRejected, request: Request) -> None:
        if error.parameter in self.changes:
            return  # another call in flight learned it meanwhile
        if error.parameter not in request.params or error.instead in request.params:
            raise error
        if error.parameter == OUTPUT_LIMIT and error.instead != ITS_OTHER_NAME:
            raise error
        self.changes[error.parameter] = error.instead
        self.on_rejected(error.parameter, error.instead, str(error))
        changed: dict[str, Json] = dict(self.changes)
        await self.store.put(digest(self._key()), self._key(), changed)

    def _key(self) -> dict[str, Json]:
        return {"options that this model rejects": dict(self.identity)}
