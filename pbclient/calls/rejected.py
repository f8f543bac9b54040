"""Drop options the model rejects, and remember that it does.

A dropped option changes the key, since the request that is sent is another. What was learned is
kept in the answer store, so that a later run (a fully cached one above all) starts with it: what the
provider itself has said for whoever asks the model there, what a wire cannot write for that wire.
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
    with each new one and the provider's words. `wire` is the name of the way to the model.
    """

    inner: Provider
    store: Store
    identity: Mapping[str, Json]
    wire: str
    on_rejected: Callable[[str, str | None, str], None] = lambda name, instead, why: None
    changes: dict[str, str | None] = field(default_factory=dict)

    def load(self) -> None:
        """Take up what earlier runs learned of this model, here and over this wire."""
        for wire in (None, self.wire):
            self.changes |= self._noted(wire)

    def _noted(self, wire: str | None) -> dict[str, str | None]:
        try:
            entry = self.store.get(digest(self._key(wire)))
        except CorruptEntry:
            return {}
        if entry is MISS or not isinstance(entry.answer, dict):
            return {}
        noted = {
            name: instead
            for name, instead in entry.answer.items()
            if instead is None or isinstance(instead, str)
        }
        return {name: instead for name, instead in noted.items() if _keeps_the_limit(name, instead)}

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
        if not _keeps_the_limit(error.parameter, error.instead):
            raise error
        self.changes[error.parameter] = error.instead
        self.on_rejected(error.parameter, error.instead, str(error))
        # Without a status nobody was asked: it is the wire that cannot write the option.
        wire = self.wire if error.status is None else None
        noted: dict[str, Json] = {**self._noted(wire), error.parameter: error.instead}
        await self.store.put(digest(self._key(wire)), self._key(wire), noted)

    def _key(self, wire: str | None) -> dict[str, Json]:
        return {"options that this model rejects, by wire": wire, "provider": dict(self.identity)}


def _keeps_the_limit(option: str, instead: str | None) -> bool:
    """Whether the request has one output limit afterwards, as its hold has."""
    if option == OUTPUT_LIMIT:
        return instead == ITS_OTHER_NAME
    return instead not in (OUTPUT_LIMIT, ITS_OTHER_NAME)
