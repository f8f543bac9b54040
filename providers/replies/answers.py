"""Decide what makes an answer, whichever wire it came over: how it ended, what was counted, what it cost.

An answer without text is none, whatever its status, and neither is one that ended in an unknown
way. Only a cost that the provider itself reported is taken.
"""

from __future__ import annotations

from collections.abc import Mapping

from providers.errors import EmptyAnswer, MalformedResponse
from providers.replies.bodies import MOST_TOKENS
from providers.replies.error_text import one_line
from providers.types import Finish, Usage

# How providers call a good end.
_GOOD_ENDS = frozenset(
    {"stop", "stop_sequence", "end_turn", "complete", "completed", "eos", "eos_token", "finish", "finished"}
)  # fmt: skip
_CUT_OFF = frozenset(
    {"MAX_TOKENS", "compaction", "length", "max_tokens", "model_context_window_exceeded", "model_length"}
)
# Google's words are in capitals: some servers hand them on.
_REFUSED = frozenset(
    {
        "BLOCKLIST", "ERROR_TOXIC", "IMAGE_SAFETY", "LANGUAGE", "OTHER", "PROHIBITED_CONTENT",
        "RECITATION", "SAFETY", "SPII", "content_filter", "content_filtered", "guardrail_intervened",
        "refusal", "sensitive",
    }
)  # fmt: skip
# More than any output limit gives room for: whoever sends it did not answer our request.
LONGEST_TEXT = 1_000_000
_THOUGHT = "</think>"
_HIGHEST_COST = 1e6  # dollars for one call


def visible(text: str) -> str:
    """What a user sees of what a model on this machine wrote: what it thought is no part of its answer.

    The benchmark's judge is read so (`open_ended_gen.parse_judge_prediction`); servers keep the two apart.
    """
    return text.rpartition(_THOUGHT)[2].lstrip() if _THOUGHT in text else text


def finish_of(word: object) -> Finish:
    """What a provider's own word for an ending means; what is in no list only seems to be a stop."""
    if not isinstance(word, str):
        return "stop"
    return "length" if word in _CUT_OFF else "refusal" if word in _REFUSED else "stop"


def ended(
    who: str,
    text: str,
    finish: Finish,
    *,
    ending: object = None,
    error: object = None,
    refusal: object = None,
) -> tuple[str, Finish]:
    """The text and how it ended. Raises `MalformedResponse` when that makes no answer.

    `ending` is the provider's own word where `finish` only seems to be a stop; `error` and
    `refusal` are what it says beside the text.
    """
    if refusal is not None and (refusal or not text):
        text, finish = str(refusal), "refusal"
    if len(text) > LONGEST_TEXT:
        raise MalformedResponse(f"{who} sent an answer of {len(text):,} characters.", billed=True)
    if finish == "stop":
        word = ending or "stop"
        if error or str(word).lower() not in _GOOD_ENDS:
            sentence = f"{who} ended its answer with {str(word)[:100]!r}. {one_line(str(error or ''))}"
            raise MalformedResponse(sentence.rstrip(), billed=True)
        if not text.strip():
            raise EmptyAnswer(f"{who} sent an empty answer.", billed=True)
    return text, finish


def counted(
    text: str,
    *,
    asked: object,
    said: object,
    total: object,
    reasoned: object = None,
    cached: object = None,
    written: object = None,
) -> Usage | None:
    """The counts, or None when they cannot be true: then the bill is not known either.

    `asked` and `said` are all tokens in and out, `reasoned`, `cached` and `written` parts of them.
    """
    counts: list[int] = []
    for value in (asked, said, total, reasoned, cached, written):
        count = value or 0
        if type(count) is not int or not 0 <= count <= MOST_TOKENS:
            return None
        counts.append(count)
    read, out, whole, thought, hit, kept = counts
    # LiteLLM writes zeros where a provider counted nothing.
    if not read:
        return None
    # xAI leaves the reasoning out of `completion_tokens`, though not out of the total.
    output = max(out, whole - read)
    if text and not output:
        return None
    # A part is no more than its whole: what is counted outside of it would go unbilled.
    if output > MOST_TOKENS or thought > output or hit + kept > read:
        return None
    return Usage(read, output, thought, hit, kept)


def cost(reported: object, byok: object, details: object) -> float | None:
    """Dollars, as OpenRouter tells them."""
    fee = _amount(reported)
    if fee is not None and byok:
        # With the user's own key it bills its fee, and the provider behind it the rest.
        upstream = details.get("upstream_inference_cost") if isinstance(details, Mapping) else None
        rest = _amount(upstream)
        return None if rest is None else fee + rest
    return fee


def _amount(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if 0 <= value <= _HIGHEST_COST else None
