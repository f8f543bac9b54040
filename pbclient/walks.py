"""How long an episode can still become, and what each of its turns can cost at most.

The package's environment is walked along every suggestion that it takes. What would be asked on the
way is made by the run's own player and bounded by the run's own bounds; of a picture only the header
is read. How long episodes usually are is not known here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pbclient.benchmark import Environment
from pbclient.bounds import Bounds
from pbclient.conditions import Rules
from pbclient.dataset import Sample
from pbclient.errors import FrameError
from pbclient.model import Model
from pbclient.pictures import Picture, Pictures, Transform
from pbclient.plan import Plan
from pbclient.players import ModelPlayer, View, suggestions
from providers import Request, Response
from providers.text_tokens import text_bound
from providers.types import EncodedImage

# English text in today's tokenizers.
BYTES_A_TOKEN = 4


_PLAIN = frozenset({int, float, str, bool, type(None)})

type _State = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """One turn: the picodollars that its call holds, and the input tokens that it probably has."""

    hold: int
    tokens: int


@dataclass(frozen=True)
class Walks:
    """Measures the longest way from where an episode stands to its end."""

    player: ModelPlayer
    scales: Scales
    rules: Rules

    async def longest(self, sample: Sample, repeat: int, start: Environment) -> tuple[Step, ...]:
        """A step for each turn that may still come: no episode takes more of them, or dearer ones.

        A level holds the states after so many turns. A way that comes back to a state (blocks go left
        and right, a film forth and back) may go round until the environment's own last turn: then
        each turn is held at the dearest state of all. Where no state has two successors, what is
        shown may depend on the turn, so that no state counts as seen before; no environment of the
        package has both.
        """
        levels: list[list[Step]] = []
        seen = {_state(start)}
        branches = circles = False
        level = [start]
        while level:
            following: dict[_State, Environment] = {}
            levels.append([])
            for each in level:
                view = self._view(sample, repeat, each)
                step = None if view is None else await self._step(view)
                if view is not None and step is not None:
                    levels[-1].append(step)
                    following.update((_state(after), after) for after in _successors(view))
            branches = branches or len(following) > 1
            circles = circles or (branches and not seen.isdisjoint(following))
            level = [after for state, after in following.items() if not (branches and state in seen)]
            seen.update(following)
        steps = [_dearest(found) for found in levels if found]
        return (_dearest(steps),) * _turns_left(start) if circles else tuple(steps)

    def _view(self, sample: Sample, repeat: int, environment: Environment) -> View | None:
        try:
            state = environment.get_state(hint=self.rules.hint)
        except Exception:
            # The package's code on an untrusted row: an episode that comes here fails without a call.
            return None
        return View(environment, state, sample.dataset, sample.id, repeat, environment.num_turns)

    async def _step(self, view: View) -> Step | None:
        try:
            await self.player.answer(view)
        except FrameError:
            return None
        return self.scales.last


@contextmanager
def walks(plan: Plan, model: Model) -> Iterator[Walks]:
    """For the episodes of a plan."""
    scales = Scales(model.bounds)
    with Outlines(plan.data.frames) as outlines:
        player = ModelPlayer(scales, outlines, model.params, plan.question())
        yield Walks(player, scales, plan.rules)


@dataclass
class Scales:
    """A provider that weighs a request and answers nothing; `last` is what it found."""

    bounds: Bounds
    last: Step = Step(0, 0)

    async def complete(self, request: Request) -> Response:
        self.last = Step(await self.bounds.of(request), await self._tokens(request))
        return Response("", "stop")

    async def _tokens(self, request: Request) -> int:
        if self.bounds.price.is_free:
            return 0
        tokens = 0
        for part in (part for message in request.messages for part in message.parts):
            if isinstance(part, str):
                tokens += -(-text_bound(part) // BYTES_A_TOKEN)
            else:
                encoded = await part.encode()
                tokens += self.bounds.image(encoded.width, encoded.height)
        return tokens


class Outlines(Pictures):
    """Pictures that are neither hashed nor drawn: each header is read once, for the size."""

    _last: tuple[Picture, EncodedImage] | None = None

    async def open(self, relative: str, transform: Transform) -> Picture:
        return Picture(self, relative, transform, digest="", change=None)

    async def encode(self, picture: Picture) -> EncodedImage:
        if self._last is None or self._last[0] is not picture:
            size = self.size(picture.relative, picture.transform)
            self._last = picture, EncodedImage("image/png", b"", *size)
        return self._last[1]


def _dearest(steps: list[Step]) -> Step:
    """The highest hold, and the mean of the probable tokens."""
    return Step(max(step.hold for step in steps), sum(step.tokens for step in steps) // len(steps))


def _turns_left(environment: Environment) -> int:
    return environment.max_steps - environment.num_turns


def _successors(view: View) -> Iterator[Environment]:
    """The states that a suggestion leads to, without those in which the episode is over."""
    if _turns_left(view.environment) <= 1:
        return
    for suggestion in suggestions(view):
        after = _fork(view.environment)
        try:
            after.evaluate_generated_answer(suggestion)
        except Exception:
            # As in `_view`: the episode fails here.
            continue
        if not after.stop:
            yield after


def _fork(environment: Environment) -> Environment:
    """Another environment in the same state. What the package's changes in place are lists only."""
    other = object.__new__(type(environment))
    vars(other).update(
        {name: value[:] if type(value) is list else value for name, value in vars(environment).items()}
    )
    return other


def _state(environment: Environment) -> _State:
    """What tells two states of one episode apart, apart from the turn."""
    fields = vars(environment).items()
    return tuple([value for name, value in fields if type(value) in _PLAIN and name != "num_turns"])
