from __future__ import annotations

import asyncio

import pytest

from cache import Store
from pbclient.calls.rejected import DropRejected
from providers import BadRequest, ParameterRejected, Request, Response

IDENTITY = {"provider": "p", "endpoint": None, "model": "m"}


class Picky:
    """Rejects options by name, one at a time."""

    def __init__(self, status: int | None = 400, **rejected: str | None) -> None:
        self.rejected = rejected
        self.status = status
        self.sent: list[dict] = []

    async def complete(self, request: Request) -> Response:
        self.sent.append(dict(request.params))
        for name, instead in self.rejected.items():
            if name in request.params:
                raise ParameterRejected(f"{name} is not supported", name, instead=instead, status=self.status)
        return Response("A", "stop")


def ask(
    tmp_path, model: Picky, times: int = 1, wire: str = "direct", **params
) -> tuple[DropRejected, list[tuple]]:
    noticed: list[tuple] = []

    async def main() -> DropRejected:
        with Store(tmp_path / "answers") as store:
            adapted = DropRejected(model, store, IDENTITY, wire, lambda *what: noticed.append(what))
            adapted.load()
            await asyncio.gather(*(adapted.complete(Request((), params)) for _ in range(times)))
            return adapted

    return asyncio.run(main()), noticed


def test_rejected_options_are_dropped_one_after_the_other_and_said_once(tmp_path):
    model = Picky(temperature=None, top_p=None)
    _, noticed = ask(tmp_path, model, times=3, max_tokens=9, temperature=0, top_p=1)
    assert [name for name, _, _ in noticed] == ["temperature", "top_p"]
    assert model.sent[-1] == {"max_tokens": 9}


def test_what_was_learned_is_known_to_the_next_run(tmp_path):
    ask(tmp_path, Picky(temperature=None), max_tokens=9, temperature=0)
    model = Picky(temperature=None)
    adapted, noticed = ask(tmp_path, model, max_tokens=9, temperature=0)
    assert (model.sent, noticed) == ([{"max_tokens": 9}], [])
    assert adapted.changes == {"temperature": None}


def test_what_a_wire_cannot_write_is_known_to_that_wire_alone(tmp_path):
    ask(tmp_path, Picky(None, top_p=None), wire="litellm", max_tokens=9, top_p=1)
    again, direct = Picky(), Picky()
    ask(tmp_path, again, wire="litellm", max_tokens=9, top_p=1)
    ask(tmp_path, direct, wire="direct", max_tokens=9, top_p=1)
    assert (again.sent, direct.sent) == ([{"max_tokens": 9}], [{"max_tokens": 9, "top_p": 1}])
    # The provider's own word holds for both.
    ask(tmp_path, Picky(temperature=None), wire="litellm", max_tokens=9, temperature=0)
    ask(tmp_path, direct, wire="direct", max_tokens=9, temperature=0, top_p=1)
    assert direct.sent[-1] == {"max_tokens": 9, "top_p": 1}


def test_the_output_limit_is_renamed_and_never_dropped(tmp_path):
    model = Picky(max_tokens="max_completion_tokens")
    ask(tmp_path, model, max_tokens=9)
    assert model.sent[-1] == {"max_completion_tokens": 9}
    with pytest.raises(BadRequest):
        ask(tmp_path / "other", Picky(max_tokens=None), max_tokens=9)


def test_an_option_that_was_never_sent_is_the_providers_error(tmp_path):
    class Confused:
        async def complete(self, request: Request) -> Response:
            raise ParameterRejected("no such thing", "logit_bias")

    with pytest.raises(ParameterRejected):
        ask(tmp_path, Confused(), max_tokens=9)


@pytest.mark.parametrize(
    "rejected",
    [
        {"top_p": "temperature", "temperature": None},
        {"top_p": "max_tokens"},
        {"max_tokens": "max_output_tokens"},
        {"top_p": "max_completion_tokens"},
    ],
)
def test_renames_that_lead_nowhere_end(tmp_path, rejected):
    model = Picky(**rejected)
    with pytest.raises(ParameterRejected):
        ask(tmp_path, model, max_tokens=9, temperature=0, top_p=1)
    assert len(model.sent) <= 4
