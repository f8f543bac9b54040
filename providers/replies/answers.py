"""Decide what makes an answer, whichever wire it came over, and how it ended.

An answer without text is none, whatever its status, and neither is one that ended in an unknown way.
"""

from __future__ import annotations

from providers.catalog.target import Asked
from providers.errors import EmptyAnswer, MalformedResponse
from providers.replies.error_text import one_line
from providers.types import Finish

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
    asked: Asked,
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
        raise MalformedResponse(f"{asked.who} sent an answer of {len(text):,} characters.", billed=True)
    if finish == "stop":
        word = ending or "stop"
        if error or str(word).lower() not in _GOOD_ENDS:
            told = one_line(str(error or ""), asked.secrets)
            sentence = f"{asked.who} ended its answer with {one_line(str(word), asked.secrets)!r}. {told}"
            raise MalformedResponse(sentence.rstrip(), billed=True)
        if not text.strip():
            raise EmptyAnswer(f"{asked.who} sent an empty answer.", billed=True)
    return text, finish
