"""Answer a turn with a model behind a provider: states become messages, a player puts them.

A player sees the environment's state and gives an answer. It drives nothing: the episode does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from pbclient.benchmark.package import Environment, State, multiple_choice
from pbclient.episodes.rules import Exchange, Rules
from pbclient.images.pictures import Pictures
from pbclient.money.bounds import refuse_too_many
from providers import Json, Message, Provider, Request, Response
from providers.catalog.image_limits import NO_LIMITS, ImageLimits

type Question = Callable[[State], str]


class View(NamedTuple):
    """What a player may look at: the environment, its current state, and where in the run it is.

    `past` is what stands before the question: examples of other episodes, and this one's own
    turns where its history is kept.
    """

    environment: Environment
    state: State
    dataset: str
    sample: str
    repeat: int
    turn: int
    past: tuple[Exchange, ...] = ()

    @property
    def images(self) -> int:
        """How many images its question shows: its own, and one of each exchange before it."""
        return len(self.past) + 1


class Player(Protocol):
    """Answers turns."""

    async def answer(self, view: View) -> Response:
        """One answer, without a `key` where no model was asked.

        Raises `ProviderError` or `PbclientError` when there is none.
        """
        ...


@dataclass(frozen=True)
class Conversation:
    """How states become messages: the frame and the question, as the benchmark's own loop shows them.

    Where the model's provider takes no edge as long as a frame's, or none in a request of so many
    images, the frame is shrunk to what it takes.
    """

    pictures: Pictures
    question: Question
    limits: ImageLimits = NO_LIMITS

    async def before(self, past: Iterable[Exchange], images: int) -> list[Message]:
        """The exchanges before a question, in a request of so many images."""
        messages: list[Message] = []
        for exchange in past:
            messages.append(await self.message(exchange.state, images))
            messages.append(Message("assistant", (exchange.answer,)))
        return messages

    async def message(self, state: State, images: int) -> Message:
        """The question about a state, in a request of so many images. Raises `FrameError`."""
        edge = self.limits.longest_edge(images)
        picture = await self.pictures.open(state["image_path"], state["transform"], edge)
        return Message("user", (picture, self.question(state)))


@dataclass(frozen=True)
class ModelPlayer:
    """Puts each question to a model, after what stands before it."""

    provider: Provider
    params: Mapping[str, Json]
    conversation: Conversation

    async def answer(self, view: View) -> Response:
        images = view.images
        refuse_too_many(self.conversation.limits, images)
        past = await self.conversation.before(view.past, images)
        question = await self.conversation.message(view.state, images)
        return await self.provider.complete(Request((*past, question), self.params, view.repeat, view.turn))


def choice_question(rules: Rules) -> Question:
    """The multiple-choice question of a state."""
    short = not rules.cot  # "the option and nothing else" would defy an example that reasons
    return lambda state: multiple_choice(state["prompt"], state["options"], short_answer=short)


def open_question(state: State) -> str:
    """The question without options."""
    return state["prompt"]
