"""A model tried out: whether it sees, how fast it answers, whether batching changes what it says.

Every answer is measured and none is scored: whether a model is any good is for a run to say. Who is
asked, and whether that is free, is the caller's business.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO

from pbclient.models.findings import Finding, Tell
from pbclient.progress import Say
from providers import EncodedImage, ImagesUnsupported, Json, Message, Part, Provider, Request, Response

type Clock = Callable[[], float]
SEES, BLIND, UNKNOWN = "sees", "does not see", "cannot tell"
AT_ONCE = 8
MAX_TOKENS = 64
_QUESTION = "What colour is this picture? Answer with one word."
_TASK = "Number {number}: describe this picture in as many words as you can."
_COLOURS = ("red", "blue", "green", "yellow", "black", "white", "orange", "purple")
_SIZE = 224  # pixels, where the towers of small models are at home
_STEP = 28  # a patch or two: pictures of several sizes make a batch as mixed as a run's
_EXCERPT = 40


@dataclass(frozen=True, slots=True)
class Picture:
    """One colour and nothing else; `width` and `height` in pixels."""

    colour: str
    width: int = _SIZE
    height: int = _SIZE

    @property
    def identity(self) -> Mapping[str, Json]:
        """What tells it from others."""
        return {"colour": self.colour, "size": [self.width, self.height]}

    async def encode(self) -> EncodedImage:
        """As PNG."""
        from PIL import Image

        content = BytesIO()
        Image.new("RGB", (self.width, self.height), self.colour).save(content, "PNG")
        return EncodedImage("image/png", content.getvalue(), self.width, self.height)


async def try_out(provider: Provider, tell: Tell, clock: Clock, say: Say) -> None:
    """Ask it 28 short questions, and tell what that shows.

    `clock` gives seconds. Raises the `ProviderError` of the first question that fails.
    """
    say("Asking about two pictures.")
    seen = await look(provider)
    tell(seen)
    pictures = seen.good
    first, others = _tasks(0, pictures), _tasks(1, pictures)
    say(f"Asking {AT_ONCE} questions, one after the other.")
    alone = await _timed(_one_by_one(provider, first), clock)
    # Others in between: an engine keeps the prompts it has read, and would skip reading the first again,
    # which would flatter its speed and hide where reading in company makes a difference.
    say(f"Asking {AT_ONCE} others at once, and then the first again at once.")
    together = await _timed(_at_once(provider, others), clock)
    again = await _at_once(provider, first)
    tell(_speed(alone, together))
    tell(_determinism([each.text for each in alone.answers], [each.text for each in again]))


async def look(provider: Provider) -> Finding:
    """Whether it sees: one question without a picture, on a red one, a blue one and the red one again."""
    plain = await provider.complete(_request(_QUESTION))
    try:
        red, blue, again = [
            await provider.complete(_request(Picture(colour), _QUESTION)) for colour in ("red", "blue", "red")
        ]
    except ImagesUnsupported as error:
        return sight(BLIND, str(error))
    counted = _tokens_of_a_picture(plain, red)
    verdict, evidence = _judge(red.text, blue.text, again.text, counted)
    return sight(verdict, evidence, counted, {"red": red.text, "blue": blue.text, "red_again": again.text})


def _judge(red: str, blue: str, again: str, counted: int | None) -> tuple[str, str]:
    """The verdict, and what it rests on."""
    if _names(red, "red", "blue") and _names(blue, "blue", "red"):
        return SEES, "it names red and blue"
    if red != again:
        return UNKNOWN, f"it answers the same question differently: {_short(red)}, then {_short(again)}"
    if red != blue:
        quoted = f"red {_short(red)}, blue {_short(blue)}"
        return SEES, f"its answer depends on the picture, though it does not name the colours: {quoted}"
    if counted is not None and counted <= 0:
        return BLIND, f"a picture adds no tokens to the question, and red and blue are both {_short(red)}"
    return UNKNOWN, f"red and blue are both {_short(red)}"


def _names(answer: str, colour: str, other: str) -> bool:
    words = set(re.findall(r"[a-z]+", answer.lower()))
    return colour in words and other not in words


def _tokens_of_a_picture(plain: Response, seen: Response) -> int | None:
    """As the engine counts them; None where it counts nothing."""
    if plain.usage is None or seen.usage is None:
        return None
    return seen.usage.input_tokens - plain.usage.input_tokens


def sight(
    verdict: str, evidence: str, counted: int | None = None, answers: Mapping[str, str] | None = None
) -> Finding:
    """What is known of its eyes, and what that rests on; `counted` is the tokens of a picture."""
    value: Json = {
        "verdict": verdict,
        "evidence": evidence,
        "picture_tokens": counted,
        "answers": dict(answers or {}),
    }
    added = "" if counted is None else f"\na picture adds {counted} tokens to its question"
    return Finding("sees_images", value, f"{verdict}: {evidence}{added}", good=verdict != BLIND)


@dataclass(frozen=True, slots=True)
class _Timed:
    """Answers, and the seconds that they took together."""

    answers: Sequence[Response]
    seconds: float

    @property
    def tokens(self) -> int | None:
        """Output tokens; None where any answer comes without a count."""
        counts = [each.usage.output_tokens for each in self.answers if each.usage]
        return sum(counts) if len(counts) == len(self.answers) else None

    @property
    def rate(self) -> float | None:
        """Output tokens a second."""
        return self.tokens / self.seconds if self.tokens and self.seconds > 0 else None

    def to_json(self) -> dict[str, Json]:
        return {
            "requests": len(self.answers),
            "output_tokens": self.tokens,
            "seconds": self.seconds,
            "tokens_per_second": self.rate,
        }


def _speed(alone: _Timed, together: _Timed) -> Finding:
    value: Json = {"max_tokens": MAX_TOKENS, "alone": alone.to_json(), "together": together.to_json()}
    if alone.rate is None or together.rate is None:
        said = f"{alone.seconds:.2f} s for {AT_ONCE} answers alone, {together.seconds:.2f} s at once"
        return Finding("speed", value, f"{said}; it does not count their tokens")
    said = (
        f"alone {alone.rate:,.1f} tokens/s, {AT_ONCE} at once {together.rate:,.1f} tokens/s "
        f"({together.rate / alone.rate:.1f} times)\nanswers of at most {MAX_TOKENS} tokens, the reading of "
        "their questions included"
    )
    return Finding("speed", value, said)


def _determinism(alone: Sequence[str], together: Sequence[str]) -> Finding:
    """How many answers differ, and from which character on, counted from 0 for programs."""
    pairs = enumerate(zip(alone, together, strict=True), 1)
    places = [
        (number, first_difference(one, other), one, other) for number, (one, other) in pairs if one != other
    ]
    value: Json = {
        "requests": len(alone),
        "different": len(places),
        "places": [{"request": number, "character": place} for number, place, _, _ in places],
    }
    what = f"the same {len(alone)} questions at temperature 0, alone and at once:"
    if not places:
        return Finding("determinism", value, f"{what} every answer is the same")
    number, place, one, other = min(places, key=lambda each: each[1])
    said = (
        f"{what} {len(places)} answers differ, answer {number} from character {place + 1} on:\n"
        f"alone {_short(one[place:])}, at once {_short(other[place:])}"
    )
    return Finding("determinism", value, said)


def first_difference(one: str, other: str) -> int:
    """Where two texts part, counted in characters from 0: the length of what they share at the start."""
    pairs = zip(one, other, strict=False)
    return next((place for place, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


async def _timed(asking: Awaitable[Sequence[Response]], clock: Clock) -> _Timed:
    begun = clock()
    answers = await asking
    return _Timed(answers, clock() - begun)


async def _one_by_one(provider: Provider, requests: Sequence[Request]) -> list[Response]:
    return [await provider.complete(request) for request in requests]


async def _at_once(provider: Provider, requests: Sequence[Request]) -> list[Response]:
    # All are waited for, so that none is left on its way when one fails.
    found = await asyncio.gather(*map(provider.complete, requests), return_exceptions=True)
    answers: list[Response] = []
    for each in found:
        if isinstance(each, BaseException):
            raise each
        answers.append(each)
    return answers


def _tasks(group: int, pictures: bool) -> list[Request]:
    return [_task(group, number, pictures) for number in range(AT_ONCE)]


def _task(group: int, number: int, pictures: bool) -> Request:
    """Groups share sizes and lengths, so that they cost the same, and neither a text nor a picture."""
    text = _TASK.format(number=AT_ONCE * group + number + 10)
    if not pictures:
        return _request(text)
    return _request(Picture(_COLOURS[(number + group) % AT_ONCE], _SIZE + _STEP * number), text)


def _request(*parts: Part) -> Request:
    return Request((Message("user", parts),), {"max_tokens": MAX_TOKENS, "temperature": 0.0})


def _short(text: str) -> str:
    line = " ".join(text.split())
    return repr(line if len(line) <= _EXCERPT else f"{line[:_EXCERPT]}...")
