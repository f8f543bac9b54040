"""Find how long an episode can still become, and what each of its turns can cost at most.

The search follows every suggestion that the package's environment takes. What would be asked on the
way is made by the run's own player and bounded by the run's own bounds; of a picture only the header
is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from pbclient.benchmark.open_ended import ONE
from pbclient.benchmark.package import OEG
from pbclient.benchmark.search import Seen, State, fork, state_of, turns_left
from pbclient.data.folder import Sample
from pbclient.episodes.episode import open_state
from pbclient.episodes.players import Conversation, View, suggestions
from pbclient.episodes.rules import Rules
from pbclient.errors import EnvironmentFailed, FrameError
from pbclient.images.encoding import Transform, fitted
from pbclient.images.pictures import Picture, Pictures
from pbclient.models.model import Model
from pbclient.money.bounds import images_of
from pbclient.scheduler.plan import Plan
from providers import Message, Request
from providers.catalog.tokens import TOKENS_A_MESSAGE, text_bound
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
class _Size:
    """Of messages: the most input tokens, the probable ones, and the images."""

    most: int = 0
    tokens: int = 0
    images: int = 0

    def __add__(self, other: _Size) -> _Size:
        return _Size(self.most + other.most, self.tokens + other.tokens, self.images + other.images)

    @classmethod
    def dearest(cls, sizes: Sequence[_Size]) -> _Size:
        """The highest bound, and the mean of the probable tokens."""
        tokens = sum(size.tokens for size in sizes) // len(sizes)
        return cls(max(size.most for size in sizes), tokens, max(size.images for size in sizes))


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
        once = self.open_ended and self.rules.turns == ONE
        most = 1 if once else turns_left(start.environment)
        questions: list[_Size] = []
        level, seen = [start], Seen({state_of(start.environment)})
        while level and len(questions) < most:
            following: dict[State, View] = {}
            sizes: list[_Size] = []
            for view in level:
                try:
                    counts = self._image_counts(view, most)
                    asked = [await self.conversation.message(view.state, count) for count in counts]
                    sizes += [await self._size([message]) for message in asked]
                except FrameError:
                    continue  # the episode fails here, without a call
                following.update((state_of(after.environment), after) for after in self._after(sample, view))
            if sizes:
                questions.append(_Size.dearest(sizes))
            level = seen.new(following)
        if seen.circles:
            questions = [_Size.dearest(questions)] * most
        return await self._steps(start, questions)

    async def _steps(self, start: View, questions: Sequence[_Size]) -> tuple[Step, ...]:
        """The calls that put these questions one after the other, each with what stands before it."""
        counts = self._image_counts(start, len(questions))
        messages = [await self.conversation.before(start.past, count) for count in counts]
        past = _Size.dearest([await self._size(told) for told in messages])
        answer = _Size(TOKENS_A_MESSAGE + longest_answer(self.model), KEPT_ANSWER)
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

    def _image_counts(self, view: View, turns: int) -> list[int]:
        """How many images the requests of so many turns have: of those that are shown alike, the first."""
        first = len(view.past) + 1
        last = first + turns - 1 if self.rules.history else first
        edge = self.conversation.limits.longest_edge
        return [first] if edge(first) == edge(last) else [first, last]

    async def _size(self, messages: Sequence[Message]) -> _Size:
        images = images_of(Request(tuple(messages), {}))
        if self.model.price.is_free:
            return _Size(images=images)
        most, _ = await self.model.bounds.weigh(messages)
        bound, probable = text_tokens(messages)
        return _Size(most, most - bound - TOKENS_A_MESSAGE * len(messages) + probable, images)

    def _after(self, sample: Sample, view: View) -> Iterator[View]:
        """What a suggestion leads to, without the states in which the episode is over."""
        if turns_left(view.environment) <= 1:
            return
        for suggestion in suggestions(view):
            after = fork(view.environment)
            try:
                self.rules.evaluate(after, sample, view.repeat, suggestion)
                if not after.stop:
                    state = open_state(after, self.rules) if self.open_ended else self.rules.state(after)
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


def text_tokens(messages: Sequence[Message]) -> tuple[int, int]:
    """The most tokens and the probable ones of the texts in messages."""
    sizes = [text_bound(part) for message in messages for part in message.parts if isinstance(part, str)]
    return sum(sizes), sum(-(-size // BYTES_A_TOKEN) for size in sizes)


class Outlines(Pictures):
    """Pictures that are neither hashed nor drawn: each header is read once, for the size."""

    async def open(self, relative: str, transform: Transform, edge: int | None = None) -> Picture:
        fit = None if edge is None else fitted(self.size(relative, transform), edge)
        return Picture(self, relative, transform, digest="", change=None, fit=fit)

    async def encode(self, picture: Picture) -> EncodedImage:
        size = picture.fit or self.size(picture.relative, picture.transform)
        return EncodedImage("image/png", b"", *size)
