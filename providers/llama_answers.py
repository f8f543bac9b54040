"""A chat completion of llama.cpp as our answer.

It is OpenAI's shape with two differences. An empty answer is one: the engine counted the token that
ended it, so the model chose to say nothing, and would again. And an answer that filled its slot was
not cut off by the output limit: no higher limit would have helped.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from providers.answers import visible
from providers.direct_openai import ChatCompletions
from providers.llama_faults import too_long
from providers.types import Json, Response

_SHAPE = ChatCompletions("any")
_NOTHING = "(nothing)"


def read_answer(answer: Mapping[str, Any], who: str, params: Mapping[str, Json], ctx: int) -> Response:
    """Raises `MalformedResponse` when there is no answer in it, `ContextExceeded` when it had no room.

    `ctx` is the context of one slot in tokens.
    """
    silent = _is_silent(answer)
    response = _SHAPE.read(_spoken(answer) if silent else answer, who)
    usage, most = response.usage, params.get("max_tokens")
    if response.finish == "length" and usage and isinstance(most, int) and usage.output_tokens < most:
        raise too_long(
            f"The prompt has {usage.input_tokens} tokens, and its answer did not fit in a slot of {ctx}"
        )
    # A llama-server keeps thoughts apart from the answer, the library does not.
    return response._replace(text="" if silent else visible(response.text), cost=0.0)


def _is_silent(answer: Mapping[str, Any]) -> bool:
    """Whether the model ended its answer before saying anything."""
    try:
        choice = answer["choices"][0]
        said = (choice["message"].get("content") or "").strip()
        counted: int = answer["usage"]["completion_tokens"]
    except (LookupError, TypeError, AttributeError):
        return False
    return choice.get("finish_reason") == "stop" and not said and counted > 0


def _spoken(answer: Mapping[str, Any]) -> dict[str, Any]:
    """The same with words in place of nothing, which other providers' answers must have."""
    choice = answer["choices"][0]
    message = {**choice["message"], "content": _NOTHING}
    return {**answer, "choices": [{**choice, "message": message}]}
