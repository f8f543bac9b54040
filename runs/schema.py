"""What run.json and a line of episodes.jsonl hold: each field and its type (docs/run-folder.md).

Whatever is read back is held against this once, where it is read. Fields that are not named here pass: a
later version may write more. What the values mean (which data sets there are, say) is not known here.
"""

from __future__ import annotations

from typing import Annotated, Any, Required, TypedDict

import msgspec

type _Count = Annotated[int, msgspec.Meta(ge=0)]
type _Ratio = Annotated[str, msgspec.Meta(pattern="^[0-9]{1,99}(/[1-9][0-9]{0,98})?$")]
type _Object = dict[str, Any]


class Usage(TypedDict, total=False):
    """Tokens as the provider counted them."""

    input_tokens: _Count
    output_tokens: _Count
    reasoning_tokens: _Count
    cached_input_tokens: _Count
    cache_write_tokens: _Count
    hour_write_tokens: _Count


class Call(TypedDict, total=False):
    """A call of the model or the judge. `cost` and what was saved are in dollars, `seconds` on the wire."""

    answer: str | None
    cached: bool
    cost: float
    saved: float | None
    saved_by_prefix: float | None
    usage: Usage | None
    seconds: float | None
    key: str | None
    model: str | None


class Turn(Call, total=False):
    """A question of an episode and its answer; `action` and `category` are the environment's own words.

    `right_answers` are the options on the screen that the environment would have taken.
    """

    image: str
    prompt: str
    options: list[str]
    given: str
    finish: str
    action: str | None
    category: str | None
    result: str
    right_answers: list[str]


class TurnVerdict(TypedDict, total=False):
    """What a judge said of one answer of several; `calls` of its turns are about this one."""

    calls: _Count
    valid: list[str]
    official: _Object


class Verdict(TypedDict, total=False):
    """What a judge said of an open-ended answer, or of `each` of several."""

    judge: str
    valid: list[str]
    official: _Object
    turns: list[Call]
    each: list[TurnVerdict]


class EpisodeLine(TypedDict, total=False):
    """A line of episodes.jsonl, or of a judge's file."""

    dataset: str
    sample: str
    repeat: _Count
    outcome: str
    correct: bool | None
    suggestions: Annotated[int, msgspec.Meta(ge=-1)] | None
    error: str | None
    examples: list[Any]
    valid: list[str]
    stopped: str
    turns: list[Turn]
    verdict: Verdict | None


class Judge(TypedDict, total=False):
    """Who is asked for verdicts, and with which options."""

    provider: Required[str]
    model: Required[str]
    endpoint: str | None
    params: _Object


class Config(TypedDict, total=False):
    """What defines the run."""

    provider: str
    model: str
    endpoint: str | None
    params: _Object
    benchmark: str
    mode: str
    judge: Judge | None
    datasets: list[str]
    filter: str | None
    hint: bool | None
    reference: bool | None
    history: bool | None
    resize: bool | None
    cot: bool | None
    shots: _Count | None
    options: str | None
    protocol: str
    turns: str
    foreign_options: str | None
    limit: _Count | None
    seed: int
    repeat: _Count


class Settings(TypedDict, total=False):
    """What may change when the run is continued. `max_cost` is in dollars, `timeout` in seconds."""

    max_cost: float | None
    model: str | None
    judge: str | None
    wire: str
    concurrency: _Count
    rpm: float | None
    tpm: float | None
    timeout: float
    offline: bool
    no_cache: bool
    unpriced_params: list[str] | None


class Data(TypedDict, total=False):
    """Digests of what was played."""

    digest: str
    sources: _Object


class Manifest(TypedDict, total=False):
    """run.json."""

    schema: _Count
    id: str
    created: str
    config: Config
    data: Data | str | None
    settings: Required[Settings]
    prices: _Object | None
    judge: Judge | None
    judge_prices: _Object | None
    dropped: dict[str, str | None] | None
    judge_dropped: dict[str, str | None] | None
    holds_raised: tuple[_Ratio, _Count] | None
    versions: dict[str, str]
    planned: dict[str, _Count] | None
    speed: _Object | None


def complaint(value: Any, form: type[Manifest | EpisodeLine]) -> str | None:
    """What is wrong with a value that was read back, and with which of its fields; None where nothing is."""
    try:
        msgspec.convert(value, form)
    except UnicodeEncodeError:
        return "half a surrogate pair stands where no text belongs"
    except (msgspec.ValidationError, OverflowError, RecursionError) as error:
        reason, _, path = str(error).rpartition(" - at `$.")
        return f"{path.rstrip('`')}: {reason[0].lower()}{reason[1:]}" if path and reason else str(error)
    return None
