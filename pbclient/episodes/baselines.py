"""Players that need no model: random, always-ask, always-abstain, oracle."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from pbclient.benchmark.package import guarded
from pbclient.episodes.players import View
from pbclient.models.choice import BASELINES
from providers import Response


@dataclass(frozen=True)
class BaselinePlayer:
    """A policy that needs no model: chance levels, and the ceiling."""

    policy: Callable[[View], str]

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


def randomly(seed: int) -> Callable[[View], str]:
    """Any option, each as likely: chance level, seeded by the place in the run."""

    def policy(view: View) -> str:
        where = f"{seed}/{view.dataset}/{view.sample}/{view.repeat}/{view.turn}"
        return str(random.Random(where).choice(view.state["options"]))

    return policy


def baselines(seed: int) -> dict[str, Callable[[View], str]]:
    """The policies by the name that `--model` takes."""
    return dict(zip(BASELINES, (randomly(seed), always_ask, always_abstain, oracle), strict=True))
