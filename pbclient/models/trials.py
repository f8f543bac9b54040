"""Try a model out: whether it sees, how fast it answers, whether batching changes what it says.

Every answer is measured and none is scored. What a check shows is a `Finding`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from os.path import commonprefix

from pbclient.progress import Say
from providers import EncodedImage, ImagesUnsupported, Json, Message, Part, Provider, Request, Response

type Clock = Callable[[], float]
type _Timed = tuple[Sequence[Response], float]  # answers, and the seconds that they took together
SEES, BLIND, UNKNOWN = "sees", "does not see", "cannot tell"
AT_ONCE = 8
MAX_TOKENS = 64
_QUESTION = "What colour is this picture? Answer with one word."
_TASK = "Number {number}: describe this picture in as many words as you can."
_COLOURS = ("red", "blue", "green", "yellow", "black", "white", "orange", "purple")
_SIZE = 224  # pixels, where the towers of small models are at home
_STEP = 28  # a patch or two: pictures of several sizes make a batch as mixed as a run's
_EXCERPT = 40
_LABEL = 14


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `name` is stable, `value` is for programs and `says` for people.

    What is not `good` has to be mended before a run; lines of `says` after the first stand below it.
    """

    name: str
    value: Json
    says: str
    good: bool = True

    def __str__(self) -> str:
        first, *rest = self.says.splitlines()
        label = self.name.replace("_", " ").ljust(_LABEL)
        mark = "" if self.good else "! "
        return "\n".join([f"{label}{mark}{first}", *((" " * _LABEL + line).rstrip() for line in rest)])


type Tell = Callable[[Finding], None]


def to_json(findings: Sequence[Finding]) -> dict[str, Json]:
    """The values by name, and as `problems` the words of what is not good."""
    problems: list[Json] = [finding.says for finding in findings if not finding.good]
    return {**{finding.name: finding.value for finding in findings}, "problems": problems}


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
    sees = await look(provider)
    tell(sees)
    first, others = _tasks(0, sees.good), _tasks(1, sees.good)
    say(f"Asking {AT_ONCE} questions, one after the other.")
    begun = clock()
    alone = [await provider.complete(request) for request in first], clock() - begun
    # Others in between: an engine keeps the prompts it has read, and would skip reading the first again,
    # which would flatter its speed and hide where reading in company makes a difference.
    say(f"Asking {AT_ONCE} others at once, and then the first again at once.")
    begun = clock()
    together = await _at_once(provider, others), clock() - begun
    again = await _at_once(provider, first)
    tell(_speed(alone, together))
    tell(_determinism([answer.text for answer in alone[0]], [answer.text for answer in again]))


async def look(provider: Provider) -> Finding:
    """Whether it sees: one question without a picture, on a red one, a blue one and the red one again."""
    plain = await provider.complete(_request(_QUESTION))
    try:
        red, blue, again = [
            await provider.complete(_request(Picture(colour), _QUESTION)) for colour in ("red", "blue", "red")
        ]
    except ImagesUnsupported as error:
        return sight(BLIND, str(error))
    picture_tokens = None
    if plain.usage is not None and red.usage is not None:
        picture_tokens = red.usage.input_tokens - plain.usage.input_tokens
    verdict, evidence = _verdict(red.text, blue.text, again.text, picture_tokens)
    answers = {"red": red.text, "blue": blue.text, "red_again": again.text}
    return sight(verdict, evidence, picture_tokens, answers)


def _verdict(red: str, blue: str, again: str, picture_tokens: int | None) -> tuple[str, str]:
    """The verdict, and what it rests on."""

    colours = [set(re.findall(r"\b(?:red|blue)\b", answer.lower())) for answer in (red, blue)]
    if colours == [{"red"}, {"blue"}]:
        return SEES, "it names red and blue"
    if red != again:
        return UNKNOWN, f"it answers the same question differently: {_short(red)}, then {_short(again)}"
    if red != blue:
        quoted = f"red {_short(red)}, blue {_short(blue)}"
        return SEES, f"its answer depends on the picture, though it does not name the colours: {quoted}"
    if picture_tokens is not None and picture_tokens <= 0:
        return BLIND, f"a picture adds no tokens to the question, and red and blue are both {_short(red)}"
    return UNKNOWN, f"red and blue are both {_short(red)}"


def sight(
    verdict: str, evidence: str, picture_tokens: int | None = None, answers: Mapping[str, str] | None = None
) -> Finding:
    """Whether it sees, and what that rests on."""
    value: dict[str, Json] = {"verdict": verdict, "evidence": evidence}
    value |= {"picture_tokens": picture_tokens, "answers": dict(answers or {})}
    added = "" if picture_tokens is None else f"\na picture adds {picture_tokens} tokens to its question"
    return Finding("sees_images", value, f"{verdict}: {evidence}{added}", good=verdict != BLIND)


def _speed(alone: _Timed, together: _Timed) -> Finding:
    """Output tokens a second; None where any answer comes without a count."""
    value: dict[str, Json] = {"max_tokens": MAX_TOKENS}
    rates: list[float | None] = []
    for name, (answers, seconds) in (("alone", alone), ("together", together)):
        counts = [answer.usage.output_tokens for answer in answers if answer.usage]
        tokens = sum(counts) if len(counts) == len(answers) else None
        rates.append(tokens / seconds if tokens and seconds > 0 else None)
        value[name] = {
            "requests": len(answers),
            "output_tokens": tokens,
            "seconds": seconds,
            "tokens_per_second": rates[-1],
        }
    one, many = rates
    if one is None or many is None:
        sentence = f"{alone[1]:.2f} s for {AT_ONCE} answers alone, {together[1]:.2f} s at once"
        return Finding("speed", value, f"{sentence}; it does not count their tokens")
    sentence = (
        f"alone {one:,.1f} tokens/s, {AT_ONCE} at once {many:,.1f} tokens/s ({many / one:.1f} times)\n"
        f"answers of at most {MAX_TOKENS} tokens, the reading of their questions included"
    )
    return Finding("speed", value, sentence)


def _determinism(alone: Sequence[str], together: Sequence[str]) -> Finding:
    """How many answers differ, and from which character on, counted from 0 for programs."""
    pairs = enumerate(zip(alone, together, strict=True), 1)
    places = [
        (len(commonprefix(pair)), number, *pair)  # noqa: RUF071 - texts, not paths
        for number, pair in pairs
        if pair[0] != pair[1]
    ]
    value: Json = {
        "requests": len(alone),
        "different": len(places),
        "places": [{"request": number, "character": place} for place, number, _, _ in places],
    }
    what = f"the same {len(alone)} questions at temperature 0, alone and at once:"
    if not places:
        return Finding("determinism", value, f"{what} every answer is the same")
    place, number, one, other = min(places)
    sentence = (
        f"{what} {len(places)} answers differ, answer {number} from character {place + 1} on:\n"
        f"alone {_short(one[place:])}, at once {_short(other[place:])}"
    )
    return Finding("determinism", value, sentence)


async def _at_once(provider: Provider, requests: Sequence[Request]) -> list[Response]:
    # All are waited for, so that none is left on its way when one fails.
    calls = [asyncio.ensure_future(provider.complete(request)) for request in requests]
    await asyncio.gather(*calls, return_exceptions=True)
    return [call.result() for call in calls]


def _tasks(group: int, pictures: bool) -> list[Request]:
    """Groups share sizes and lengths, so that they cost the same, and neither a text nor a picture."""
    requests = []
    for number in range(AT_ONCE):
        text = _TASK.format(number=AT_ONCE * group + number + 10)
        picture = Picture(_COLOURS[(number + group) % AT_ONCE], _SIZE + _STEP * number)
        requests.append(_request(picture, text) if pictures else _request(text))
    return requests


def _request(*parts: Part) -> Request:
    return Request((Message("user", parts),), {"max_tokens": MAX_TOKENS, "temperature": 0.0})


def _short(text: str) -> str:
    line = " ".join(text.split())
    return repr(line if len(line) <= _EXCERPT else f"{line[:_EXCERPT]}...")
