"""How long an episode can still become, and what each of its turns can cost at most.

The package's environment is walked along every suggestion that it takes. What would be asked on the
way is made by the run's own player and bounded by the run's own bounds; of a picture only the header
is read. How long episodes usually are is not known here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from pbclient.benchmark.package import OEG
from pbclient.benchmark.search import Seen, State, fork, state_of, turns_left
from pbclient.data.folder import Sample
from pbclient.episodes.baselines import suggestions
from pbclient.episodes.players import Conversation, View
from pbclient.episodes.rules import Rules
from pbclient.errors import EnvironmentFailed, FrameError
from pbclient.images.pictures import Picture, Pictures
from pbclient.images.transforms import Transform, fitted
from pbclient.models.model import Model
from pbclient.money.bounds import images_of
from pbclient.scheduler.plan import Plan
from providers import Message, Request
from providers.catalog.text_tokens import TOKENS_A_MESSAGE, text_bound
from providers.types import EncodedImage

# English text in today's tokenizers.
BYTES_A_TOKEN = 4
# The longest token of OpenAI's o200k_base: 128 blanks. Others publish none that is longer.
LONGEST_TOKEN = 128
# Tokens of an answer that is kept in the conversation, as a rule: an option.
KEPT_ANSWER = 16


@dataclass(frozen=True, slots=True)
class Step:
    """One turn: the picodollars that its call holds, its images, and the input tokens it probably has."""

    hold: int
    tokens: int
    images: int = 1


@dataclass(frozen=True, slots=True)
class _Told:
    """Of messages: the most input tokens, the probable ones, and the images."""

    most: int = 0
    tokens: int = 0
    images: int = 0

    def __add__(self, other: _Told) -> _Told:
        return _Told(self.most + other.most, self.tokens + other.tokens, self.images + other.images)


@dataclass(frozen=True)
class LongestPath:
    """Measures the longest way from where an episode stands to its end."""

    model: Model
    conversation: Conversation
    rules: Rules
    open_ended: bool = False

    async def longest(self, sample: Sample, start: View) -> tuple[Step, ...]:
        """A step for each turn that may still come: no episode takes more of them, or dearer ones.

        A way that comes back to a state (blocks go left and right, a film forth and back) may go round
        until the environment's own last turn: then each turn is held at the dearest state of all.
        """
        most = 1 if self.open_ended else turns_left(start.environment)
        levels: list[list[_Told]] = []
        level, seen = [start], Seen({state_of(start.environment)})
        while level and len(levels) < most:
            following: dict[State, View] = {}
            levels.append([])
            for each in level:
                told = await self._question(each, most)
                if told is not None:
                    levels[-1].append(told)
                    following.update(
                        (state_of(after.environment), after) for after in self._after(sample, each)
                    )
            level = seen.new(following)
        dearest = [_dearest(found) for found in levels if found]
        return await self._steps(start, [_dearest(dearest)] * most if seen.circles else dearest)

    async def _steps(self, start: View, questions: Sequence[_Told]) -> tuple[Step, ...]:
        """The calls that put these questions one after the other, each with what stands before it."""
        past = await self._past(start, len(questions))
        answer = _Told(TOKENS_A_MESSAGE + longest_answer(self.model), KEPT_ANSWER)
        limit = self.conversation.limits.images
        steps = []
        for question in questions:
            asked = past + question
            if limit is not None and asked.images > limit:
                break
            steps.append(Step(hold_of(self.model, asked.most, asked.images), asked.tokens, asked.images))
            if self.rules.history:
                past += question + answer
        return tuple(steps)

    async def _question(self, view: View, turns: int) -> _Told | None:
        """The question of a view, put at once or up to so many turns later; None when it cannot be."""
        try:
            counts = self._counts(view, turns)
            return _dearest(
                [await self._told([await self.conversation.asked(view.state, n)]) for n in counts]
            )
        except FrameError:
            return None

    async def _past(self, view: View, turns: int) -> _Told:
        counts = self._counts(view, turns)
        return _dearest([await self._told(await self.conversation.told(view.past, n)) for n in counts])

    def _counts(self, view: View, turns: int) -> list[int]:
        """How many images the requests have: of those that are shown alike, the first."""
        first = len(view.past) + 1
        last = first + turns - 1 if self.rules.history else first
        edge = self.conversation.limits.longest_edge
        return [first] if edge(first) == edge(last) else [first, last]

    async def _told(self, messages: Sequence[Message]) -> _Told:
        images = images_of(Request(tuple(messages), {}))
        if self.model.price.is_free:
            return _Told(images=images)
        weight = await self.model.bounds.weigh(messages)
        texts = [text_bound(part) for each in messages for part in each.parts if isinstance(part, str)]
        shown = weight.tokens - sum(texts) - TOKENS_A_MESSAGE * len(messages)
        return _Told(weight.tokens, shown + sum(-(-size // BYTES_A_TOKEN) for size in texts), images)

    def _after(self, sample: Sample, view: View) -> Iterator[View]:
        """What a suggestion leads to, without the states in which the episode is over."""
        if turns_left(view.environment) <= 1:
            return
        for suggestion in suggestions(view):
            after = fork(view.environment)
            try:
                self.rules.evaluate(after, sample, view.repeat, suggestion)
                if not after.stop:
                    state = self.rules.state(after)
                    yield view._replace(environment=after, state=state, turn=after.num_turns)
            except EnvironmentFailed:
                # An episode that comes here fails without a call.
                continue


@contextmanager
def longest_path(plan: Plan, model: Model) -> Iterator[LongestPath]:
    """For the episodes of a plan."""
    with Outlines(plan.data.frames) as outlines:
        conversation = plan.conversation(model, outlines)
        yield LongestPath(model, conversation, plan.rules, open_ended=plan.config.mode == OEG)


def longest_answer(model: Model) -> int:
    """The most input tokens of one of its answers when it is read again: a token for each byte of it."""
    return LONGEST_TOKEN * model.output_limit


def hold_of(model: Model, tokens: int, images: int) -> int:
    """Picodollars for messages of so many tokens; what the model cannot read is refused, and not billed."""
    most = tokens if model.context is None else min(tokens, model.context)
    return model.bounds.hold(most, images, Request((), model.params))


class Outlines(Pictures):
    """Pictures that are neither hashed nor drawn: each header is read once, for the size."""

    async def open(self, relative: str, transform: Transform, edge: int | None = None) -> Picture:
        fit = None if edge is None else fitted(self.size(relative, transform), edge)
        return Picture(self, relative, transform, digest="", change=None, fit=fit)

    async def encode(self, picture: Picture) -> EncodedImage:
        size = picture.fit or self.size(picture.relative, picture.transform)
        return EncodedImage("image/png", b"", *size)


def _dearest(found: Sequence[_Told]) -> _Told:
    """The highest bound, and the mean of the probable tokens."""
    tokens = sum(told.tokens for told in found) // len(found)
    return _Told(max(told.most for told in found), tokens, max(told.images for told in found))
