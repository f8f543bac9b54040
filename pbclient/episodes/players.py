"""Answer a turn: a model behind a provider, or a baseline (random, always-ask, always-abstain, oracle).

A player sees the environment's state and gives an answer. It drives nothing: the episode does.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from pbclient.benchmark.package import OEG, Environment, State, guarded, multiple_choice
from pbclient.episodes.rules import Exchange, Rules
from pbclient.images.pictures import Pictures
from pbclient.models.choice import BASELINES
from pbclient.money.bounds import refuse_too_many
from providers import Json, Message, Provider, Request, Response
from providers.catalog.image_limits import NO_LIMITS, ImageLimits

type Question = Callable[[State], str]


class View(NamedTuple):
    """What a player may look at: the environment, its current state, and where in the run it is.

    `past` is what stands before the question: so many `examples` of other episodes, and this one's own
    turns where its history is kept.
    """

    environment: Environment
    state: State
    dataset: str
    sample: str
    repeat: int
    turn: int
    past: tuple[Exchange, ...] = ()
    examples: int = 0

    @property
    def images(self) -> int:
        """How many images its question shows: its own, and one of each exchange before it."""
        return len(self.past) + 1


type Policy = Callable[[View], str]


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
    images, the frame is shrunk to what it takes. `marks`: what later turns repeat is marked.
    """

    pictures: Pictures
    question: Question
    limits: ImageLimits = NO_LIMITS
    marks: bool = False

    async def before(self, past: Sequence[Exchange], images: int, examples: int = 0) -> list[Message]:
        """The exchanges before a question, in a request of so many images; the first are `examples`."""
        messages: list[Message] = []
        for number, exchange in enumerate(past, 1):
            messages.append(await self.message(exchange.state, images))
            repeated = self.marks and number in (examples, len(past))
            messages.append(Message("assistant", (exchange.answer,), repeated))
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
        past = await self.conversation.before(view.past, images, view.examples)
        question = await self.conversation.message(view.state, images)
        return await self.provider.complete(Request((*past, question), self.params, view.repeat, view.turn))


def question_of(rules: Rules, mode: str) -> Question:
    """How a state is asked about: with its options, or in open-ended mode without them."""
    if mode == OEG:
        return lambda state: state["prompt"]
    short = not rules.cot  # "the option and nothing else" would defy an example that reasons
    return lambda state: multiple_choice(state["prompt"], state["options"], short_answer=short)


@dataclass(frozen=True)
class BaselinePlayer:
    """A policy that needs no model: chance levels, and the ceiling."""

    policy: Policy

    async def answer(self, view: View) -> Response:
        return Response(guarded(lambda: self.policy(view)), "stop")


def abstention(option: str) -> bool:
    """Whether an option abstains, by the rule with which the environments tell suggestions from the rest."""
    return "cannot" in option.lower() or "do not" in option.lower()


def suggestions(view: View) -> list[str]:
    """The proactive suggestions among the options on the screen."""
    offered = view.state["options"]
    return [option for option in view.environment.correct_options if option in offered]


def always_ask(view: View) -> str:
    """The first suggestion while there is one, then an abstention."""
    return next(iter(suggestions(view)), None) or always_abstain(view)


def always_abstain(view: View) -> str:
    """An abstention; where none is offered, words that are no option."""
    return next(filter(abstention, view.state["options"]), "I cannot tell.")


def oracle(view: View) -> str:
    """The right category as soon as the environment takes it, a suggestion before."""
    _, categories = view.environment._get_correct_options_and_categories()
    found = suggestions(view)
    return str(categories[0]) if categories or not found else found[0]


def randomly(seed: int) -> Policy:
    """Any option, each as likely: chance level, seeded by the place in the run."""

    def policy(view: View) -> str:
        where = f"{seed}/{view.dataset}/{view.sample}/{view.repeat}/{view.turn}"
        return str(random.Random(where).choice(view.state["options"]))

    return policy


def baselines(seed: int) -> dict[str, Policy]:
    """The policies by the name that `--model` takes."""
    return dict(zip(BASELINES, (randomly(seed), always_ask, always_abstain, oracle), strict=True))
