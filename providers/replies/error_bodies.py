"""Tell what a provider's refusal means, from the HTTP status and the words of the body.

Each vendor has its own shape and its own wording, and one status means many things: a table of
phrases, in the order in which they are tried, decides; the status decides where no phrase does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from providers.errors import (
    AccessDenied,
    AttemptTimedOut,
    AuthenticationFailed,
    BadRequest,
    ContextExceeded,
    ImagesUnsupported,
    ModelNotFound,
    ProviderError,
    QuotaExhausted,
    RateLimited,
    RequestRefused,
    ServerFault,
)
from providers.replies.bodies import loads
from providers.replies.error_text import LOOKED_AT
from providers.replies.usage import has_completion, usage_in
from providers.usage import Usage


@dataclass(frozen=True, slots=True)
class ErrorBody:
    """The body of a refusal: `message` for people, `raw` for phrases, the rest where it is said.

    `said` is whether it is an error in the shape of a provider, `completed` whether it holds a completion
    all the same, or may, of which `usage` are the tokens.
    """

    message: str
    raw: str
    code: str = ""
    parameter: str = ""
    said: bool = False
    completed: bool = False
    usage: Usage | None = None


type _Rule = tuple[type[ProviderError], tuple[int, ...], str]


def _rule(kind: type[ProviderError], statuses: tuple[int, ...], *phrases: str) -> _Rule:
    return kind, statuses, "|".join(phrases)  # compiled when the first refusal comes, which mostly is never


# The phrases are looked for in the lower-case body. What is about an image's size or format is
# no word on whether the model sees, so the rule on images must not match it.
_RULES = (
    _rule(
        QuotaExhausted,
        (400, 402, 403, 429),
        r"insufficient[ _](?:quota|credits?|balance|funds)",
        r"credit balance is too low",
        r"billing_(?:hard_limit|not_active|error)",
        r"requires more credits|out of credits|used all available credits|spending limit",
        r"key limit exceeded",
        r'"quotaid"\s*:\s*"[^"]*perday',  # Google: what is used up comes back tomorrow
    ),
    _rule(
        AuthenticationFailed,
        (400, 403),
        r"api_key_invalid|api key not valid|api key expired|(?:invalid|incorrect) (?:x-)?api[ -]key",
    ),
    _rule(
        RequestRefused,
        (400, 403, 422, 451),
        r"content_policy_violation|responsibleaipolicyviolation|data_inspection_failed",
        r'"(?:content_filter|invalid_prompt)"',
        r"content filtering policy|content management policy|safety system|usage (?:polic|guideline)",
        r"requires moderation|(?:input|prompt|request) was flagged|prohibited_content",
    ),
    _rule(
        ContextExceeded,
        (400, 413, 422, 500),
        r"context_length_exceeded|exceed_context_size|maximum context length|context window",
        r"prompt is too long|exceeds? (?:the )?context limit|available context size",
        r"input token count.{0,40}exceeds|longer than the model's context|too many input tokens",
    ),
    _rule(
        ImagesUnsupported,
        (400, 404, 415, 422, 500, 501),
        r"(?:not|n't) support (?:image|vision|multimodal|multi-modal)s?\b"
        r"(?! ?(?:format|type|size|file|larger|bigger|above|over|with|url|exceed|in |of ))",
        r"(?:image|vision|multimodal) inputs? (?:is|are) not (?:supported|enabled)",
        r"(?<!these )images are not supported|vision is not (?:supported|enabled|available)",
        r"support image input|is not a multimodal model|at most 0 image",
        r"image_url is only supported by certain models|unknown variant `image_url`",
        r"unknown part type: image|content must be a string",
    ),
    _rule(
        ModelNotFound,
        (400, 403, 422),
        r"model_not_found|is not a valid model|\binvalid model\b|unknown model",
        r"\bmodel\b.{0,80}(?:does not exist|not found)",
    ),
)

_BY_STATUS: Mapping[int, type[ProviderError]] = {
    401: AuthenticationFailed,
    402: QuotaExhausted,
    403: AccessDenied,
    404: ModelNotFound,
    405: ModelNotFound,
    408: AttemptTimedOut,
    409: ServerFault,
    410: ModelNotFound,
    425: ServerFault,
    429: RateLimited,
}

# With a provider's own error these say that the model did no work. All others are, or may be, the word of
# somebody between us and the model (a gateway's 502, 504, 520-524): behind it the model may have answered.
NO_WORK = frozenset({*range(400, 430), 500, 503, 529} - {408})

# What an error inside of a success calls itself, where it names no status.
_NAMED = (
    (402, re.compile(r"insufficient_(?:quota|credits?|balance|funds)|payment|billing|quota_exceeded")),
    (429, re.compile(r"rate_?limit|resource_exhausted|too_many_requests|throttl")),
    (401, re.compile(r"authentication|unauthenticated|unauthorized|(?:invalid|incorrect)_api_key")),
    (403, re.compile(r"permission|forbidden|access_denied")),
    (404, re.compile(r"not_?found")),
    (503, re.compile(r"overload|unavailable|server_error|internal|api_error|upstream|timeout|bad_gateway")),
)


def status_in(body: ErrorBody) -> int | None:
    """The status that an error names or means by its code, type or status, if it says any known one."""
    for word in body.code.split():
        if re.fullmatch(r"[45]\d\d", word):
            return int(word)
    named = body.code.lower().replace("-", "_")
    return next((status for status, phrases in _NAMED if phrases.search(named)), None)


def kind_of(status: int, body: ErrorBody) -> type[ProviderError]:
    """What a refusal with this status and body means."""
    words = body.raw[:LOOKED_AT].lower()
    for kind, statuses, phrases in _RULES:
        if status in statuses and re.search(phrases, words):
            return kind
    return _BY_STATUS.get(status) or (ServerFault if status >= 500 else BadRequest)


def read_body(text: str) -> ErrorBody:
    """Any vendor's error body; text that is no JSON is its own message."""
    try:
        parsed = loads(text)
    except (ValueError, RecursionError):
        torn = text.lstrip().startswith(("{", "["))  # and with it perhaps a completion
        return ErrorBody(message=text, raw=text, completed=torn)
    # Google wraps its error in a list when it was asked to stream.
    parsed = parsed[0] if isinstance(parsed, list) and parsed else parsed
    if not isinstance(parsed, dict):
        return ErrorBody(message=text, raw=text)
    error = parsed.get("error")
    fields = error if isinstance(error, dict) else parsed
    said = [part for part in _messages(parsed, error, fields) if part]
    completed = has_completion(parsed)
    return ErrorBody(
        message="; ".join(dict.fromkeys(said)) or ("it holds a completion" if completed else text),
        raw=text,
        code=" ".join(str(fields[name]) for name in ("code", "type", "status") if fields.get(name)),
        parameter=str(fields.get("param") or ""),
        said=bool(said),
        completed=completed,
        usage=usage_in(parsed),
    )


def is_free(status: int, body: ErrorBody) -> bool:
    """Whether this answer says that nothing was worked, and so nothing is billed.

    A 429 says so by itself, whoever sends it: the request was not taken in (RFC 6585).
    """
    return not body.completed and (status == 429 or (body.said and status in NO_WORK))


def _messages(parsed: dict[str, Any], error: object, fields: dict[str, Any]) -> Iterator[str]:
    if isinstance(error, str):
        yield error
    yield _text(fields.get("message"))
    metadata = fields.get("metadata")
    if isinstance(metadata, dict):
        yield _text(metadata.get("raw"))  # OpenRouter: what the provider behind it said
    detail = parsed.get("detail")
    if isinstance(detail, list):
        for item in detail:
            if isinstance(item, dict):
                yield f"{_path(item.get('loc'))}: {item.get('msg', '')}"
    else:
        yield _text(detail)


def _path(steps: object) -> str:
    """`["body", "top_k"]` as `top_k`."""
    return ".".join(str(step) for step in steps if step != "body") if isinstance(steps, list) else ""


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value) if value else ""


# A provider's own word that it does not take an option: a code beside the option's name, or a sentence in
# which the name stands right before or behind the no. That a message only mentions an option says nothing.
_CODES = frozenset(
    {"unsupported_parameter", "unsupported_value", "unknown_parameter", "unrecognized_parameter"}
)
_NO_BEHIND = (
    r"(?:unsupported|(?:not|n't) support|is not available|extra inputs are not permitted|extra_forbidden"
    r"|is deprecated|not allowed|cannot both be|cannot be used)"
)
_NO_BEFORE = (
    r"(?:(?:unsupported|unknown|unrecognized|unexpected) (?:request )?(?:keyword )?"
    r"(?:parameter|value|name|option|argument|field|key)s?(?: supplied)?:?|(?:does not|doesn't) support"
    r"(?: parameters?:?)?|(?:additional propert|extra field)[a-z]*:?)"
)
_INSTEAD = re.compile(r"[Uu]se ['\"`](\w+)['\"`] instead")

# Names under which LiteLLM or a vendor knows one option.
_ALIASES = (
    ("max_tokens", "max_completion_tokens", "max_output_tokens"),
    ("seed", "random_seed"),
    ("reasoning_effort", "reasoning", "thinking", "thinking_config", "thinking_level", "output_config"),
    ("stop", "stop_sequences"),
    ("n", "candidate_count"),
    ("response_format", "response_schema", "response_mime_type"),
)


def rejected_option(
    message: str, parameter: str, sent: Collection[str], code: str = ""
) -> tuple[str, str | None] | None:
    """The option that was rejected, as we sent it, and the other name of it that is asked for, if any."""
    told = parameter.split(".")[0].split("[")[0]
    if told and _CODES & set(code.split()):
        found = [(0, option) for option in sent if told in _names(option)]
    else:
        found = [(place, option) for option in sent if (place := _place(option, message)) is not None]
    if not found:
        return None
    named = min(found)[1]
    instead = _INSTEAD.search(message)
    # An option under another one's name would be another request, and a second output limit beyond its hold.
    renamed = instead is not None and instead[1] in _names(named)
    return named, instead[1] if instead and renamed else None


def _names(option: str) -> Iterator[str]:
    """The option's own name and its others, in snake and in camel case."""
    for name in next((names for names in _ALIASES if option in names), (option,)):
        yield name
        head, *rest = name.split("_")
        yield head + "".join(word.capitalize() for word in rest)


def _place(option: str, message: str) -> int | None:
    """Where the message names the option and says no to it; a plain word has to be marked as a name."""
    names = "|".join(map(re.escape, _names(option)))
    plain = option.isalpha() and option != "temperature"
    marked = rf"['\"`](?P<a>{names})['\"`]|\b(?P<b>{names})(?=[:=])" + (
        "" if plain else rf"|\b(?P<c>{names})\b"
    )
    behind = rf"(?:{marked})(?:=[\w.+-]+)?(?::\s?|[^.:;\n]{{0,24}}?){_NO_BEHIND}"
    before = rf"{_NO_BEFORE}\s?(?:\[[^\]]*?)?['\"`(]*\b(?P<d>{names})\b"
    found = re.search(f"{behind}|{before}", message, re.IGNORECASE)
    return None if found is None else found.start(found.lastgroup or 0)
