"""Both wires, held against each other over real HTTP: the same request in, the same of everything out.

What arrives at the server (as JSON, with its path and key), the answer with its counts and cost, and
the error with what it says of its bill must be equal. Where they differ on purpose, a line of
`DIFFERENCES` says why, and a test that they still do.
"""

import asyncio
import json
import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from loopback_faults import Ask, ErrorKind, Fault, FaultKind, LoopbackServer, OddKind

from providers import (
    AuthenticationFailed,
    EmptyAnswer,
    EncodedImage,
    Finish,
    Json,
    MalformedResponse,
    Message,
    Part,
    ProviderError,
    Request,
    Response,
    Usage,
)
from providers.direct import wire as direct_module
from providers.direct.wire import Direct
from providers.hosted.library import load
from providers.hosted.wire import Hosted
from providers.types import Role

KEY = "hush-0123456789"

# Provider and model; what follows the server's root in the base URL; None is the provider's own place.
TARGETS: Mapping[str, tuple[str, str, str | None]] = {
    "compatible": ("openai", "any-model", "/v1"),
    "vllm": ("hosted_vllm", "org/model", "/v1"),
    "openai": ("openai", "gpt-4.1-mini", None),
    "luna": ("openai", "gpt-6-luna", None),
    "o3": ("openai", "o3", None),
    "chat": ("openai", "gpt-5-chat-latest", None),
    "openrouter": ("openrouter", "google/gemini-3.8-flash", "/v1"),
    "openrouter-gpt": ("openrouter", "openai/gpt-5", "/v1"),
    "anthropic": ("anthropic", "claude-haiku-4-5", ""),
    "claude-5": ("anthropic", "claude-haiku-5-5", ""),
    "claude-slash": ("anthropic", "claude-haiku-4-5", "/"),
    "claude-v1": ("anthropic", "claude-haiku-4-5", "/v1"),
}
SHAPES = ("compatible", "openai", "openrouter", "anthropic")
OPENAI = ("compatible", "openai", "openrouter")


class Picture:
    """Bytes that are no picture: nobody on the way may look into them."""

    identity: Mapping[str, Json] = {}

    def __init__(self, media_type: str = "image/webp", data: bytes = bytes(range(256))) -> None:
        self.encoded = EncodedImage(media_type, data, 16, 16)

    async def encode(self) -> EncodedImage:
        return self.encoded


def asking(**params: Json) -> Request:
    parts = ("what", Picture(), "is it")
    return Request((Message("system", ("be kind",)), Message("user", parts)), {"max_tokens": 50, **params})


def turns(*said: tuple[Role, Part | tuple[Part, ...]], **params: Json) -> Request:
    messages = tuple(Message(role, parts if isinstance(parts, tuple) else (parts,)) for role, parts in said)
    return Request(messages, {"max_tokens": 50, **params})


@dataclass(frozen=True)
class Failed:
    """All that an error says to the rest of the client; its words where the server spoke them."""

    kind: type[ProviderError]
    billed: bool
    usage: Usage | None
    status: int | None
    wait: float | None
    parameter: str | None
    instead: str | None
    words: str | None


@dataclass(frozen=True)
class Seen:
    """One call: what arrived and where, what came of it, and how often it was sent."""

    body: Mapping[str, Json] | None = field(repr=False)
    path: str | None
    headers: Mapping[str, str]
    outcome: Response | Failed
    calls: int


def failed(error: ProviderError) -> Failed:
    wait = error.retry_after
    # A date is so far away from now, and now is not the same for both.
    wait = round(wait, -4) if wait is not None and wait > 1e6 else wait
    parameter, instead = getattr(error, "parameter", None), getattr(error, "instead", None)
    words = str(error) if error.status is not None else None
    return Failed(type(error), error.billed, error.usage, error.status, wait, parameter, instead, words)


class Bench:
    """One server and both wires to it, in a loop that lives as long as the module."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self._runner = runner
        self._wires: dict[str, tuple[Hosted, Direct]] = {}
        self.reset()
        self.server = LoopbackServer(
            lambda ask: self.text,
            faults=lambda ask, attempt: self.fault,
            usage=lambda ask, text: self.usage,
            cost=lambda ask, usage: 0.125,
            tells_cost=True,
            keep_asks=True,
            records=1,
            drip_seconds=0.02,
        )
        runner.run(self.server.__aenter__())

    def reset(self) -> None:
        self.text = "B"
        self.usage = Usage(100, 30)
        self.fault: Fault | None = None

    def both(self, target: str, request: Request, *timeouts: float) -> tuple[Seen, Seen]:
        """What LiteLLM and the direct wire make of it; a longer timeout where none of a call had arrived."""
        if target not in self._wires:
            provider, model, place = TARGETS[target]
            url = None if place is None else self.server.root + place
            given: dict[str, Any] = {"base_url": url, "api_key": KEY}
            self._wires[target] = (Hosted.of(provider, model, **given), Direct.of(provider, model, **given))
        hosted, direct = self._wires[target]
        assert hosted.identity == direct.identity
        return self._seen(hosted, request, timeouts), self._seen(direct, request, timeouts)

    def same(self, target: str, request: Request, *timeouts: float) -> Seen:
        """What both make of it."""
        hosted, direct = self.both(target, request, *timeouts)
        assert (direct.body, direct.path, direct.headers) == (hosted.body, hosted.path, hosted.headers)
        assert (direct.outcome, direct.calls) == (hosted.outcome, hosted.calls)
        return direct

    def _seen(self, wire: Hosted | Direct, request: Request, timeouts: Sequence[float]) -> Seen:
        before = self.server.calls
        for wire.timeout in timeouts or (10,):
            outcome = self._runner.run(_outcome(wire, request))
            if calls := self.server.calls - before:
                break
        arrived = self.server.served[-1].ask if calls else None
        if arrived is None:
            return Seen(None, None, {}, outcome, calls)
        return Seen(arrived.body, arrived.path, _told(arrived), outcome, calls)

    async def close(self) -> None:
        for hosted, direct in self._wires.values():
            await hosted.aclose()
            await direct.aclose()
        await self.server.__aexit__(None, None, None)


def _told(ask: Ask) -> Mapping[str, str]:
    """The headers that a server goes by."""
    names = ("authorization", "x-api-key", "anthropic-version", "content-type")
    return {name.lower(): value for name, value in ask.headers.items() if name.lower() in names}


async def _outcome(wire: Hosted | Direct, request: Request) -> Response | Failed:
    try:
        return await wire.complete(request)
    except ProviderError as error:
        return failed(error)


@pytest.fixture(scope="module")
def opened() -> Iterator[Bench]:
    with asyncio.Runner() as runner, pytest.MonkeyPatch.context() as patch:
        opened = Bench(runner)
        own = direct_module._SPOKEN["openai"][1:]
        patch.setitem(direct_module._SPOKEN, "openai", (opened.server.url, *own))
        load().api_base = opened.server.url
        yield opened
        load().api_base = None
        runner.run(opened.close())


@pytest.fixture
def bench(opened: Bench) -> Bench:
    opened.reset()
    return opened


# What arrives.

NESTED: Json = {"deep": [1, {"er": None}], "é": "😀"}
SCHEMA: Json = {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object"}}}
EVERYWHERE: list[dict[str, Json]] = [
    {},
    {"temperature": 1},
    {"seed": None},
    {"max_completion_tokens": 9},
    {"top_k": None, "x": NESTED},
    {"response_format": SCHEMA},
    {"n": 2},
    {"seed": 7},
    {"stream": True},
    {"messages": []},
]
OPTIONS: list[tuple[tuple[str, ...], dict[str, Json]]] = [
    (("compatible", "vllm", "openai", "openrouter", "anthropic"), {"temperature": 0.5, "top_p": 0.9}),
    (("compatible", "vllm", "openai", "openrouter", "anthropic"), {"stop": "x"}),
    (("compatible", "vllm", "openai", "openrouter", "anthropic"), {"stop": ["x", "y"]}),
    (("compatible", "vllm", "openai", "openrouter", "anthropic", "o3"), {"top_k": 4}),
    (("compatible", "vllm", "luna", "openrouter", "openrouter-gpt"), {"reasoning_effort": "low"}),
    (("compatible", "vllm", "openrouter", "openrouter-gpt"), {"reasoning_effort": "max"}),
    (("compatible", "vllm", "openrouter"), {"reasoning_effort": "none", "verbosity": "low"}),
    (
        ("compatible", "vllm", "openrouter", "anthropic"),
        {"thinking": {"type": "enabled", "budget_tokens": 1024}},
    ),
    (("compatible", "vllm", "openrouter", "anthropic", "claude-5"), {"thinking": {"type": "disabled"}}),
    (("claude-5",), {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}}),
    (("compatible", "vllm", "openai", "openrouter"), {"logprobs": True, "top_logprobs": 2}),
    (("compatible", "vllm", "openai", "openrouter"), {"frequency_penalty": 0.5, "presence_penalty": 0.5}),
    (("compatible", "vllm", "openai", "openrouter"), {"logit_bias": {"5": 1}}),
    (("compatible", "vllm", "openai", "openrouter"), {"response_format": {"type": "json_object"}}),
    (("compatible", "vllm", "openai", "openrouter", "luna"), {"user": "u", "metadata": {"a": "b"}}),
    (("compatible", "vllm", "openai", "luna"), {"service_tier": "auto"}),
    (("openrouter", "openrouter-gpt"), {"provider": {"order": ["a"]}, "reasoning": {"effort": "low"}}),
    (("openrouter",), {"usage": {"include": False}}),
    (("compatible", "vllm"), {"min_p": 0.1, "chat_template_kwargs": {"enable_thinking": False}}),
    (("compatible", "vllm"), {"tags": ["t"], "timeout": 1, "cache": {}, "api_base": "x"}),
]


@pytest.mark.parametrize("params", EVERYWHERE, ids=json.dumps)
def test_what_every_target_takes_or_refuses(bench: Bench, params: dict[str, Json]) -> None:
    anthropic = {target for target, (provider, *_) in TARGETS.items() if provider == "anthropic"}
    refused = anthropic if params.keys() & {"response_format", "n", "seed"} else set()
    for target in TARGETS.keys() - {"o3"}:
        seen = bench.same(target, asking(**params))
        if params.keys() & {"stream", "messages"} or (target in refused and params != {"seed": None}):
            assert (seen.calls, type(seen.outcome)) == (0, Failed)
        else:
            assert (seen.calls, type(seen.outcome)) == (1, Response)


@pytest.mark.parametrize(("targets", "params"), OPTIONS, ids=lambda value: json.dumps(value))
def test_options_arrive_in_the_same_place(
    bench: Bench, targets: tuple[str, ...], params: dict[str, Json]
) -> None:
    for target in targets:
        request = asking(**params) if target != "o3" else turns(("user", "q"), **params)
        assert bench.same(target, request).calls == 1


def test_the_output_limit_may_go_by_its_other_name_alone(bench: Bench) -> None:
    for target in TARGETS:
        seen = bench.same(target, Request((Message("user", ("q",)),), {"max_completion_tokens": 9}))
        assert seen.body is not None
        assert {seen.body.get("max_tokens"), seen.body.get("max_completion_tokens")} == {9, None}


JSON_VALUES = st.recursive(
    st.booleans() | st.integers(-(2**53), 2**53) | st.floats(-1e9, 1e9) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
MORE = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
NAMES = st.text(string.ascii_lowercase, min_size=1, max_size=6).map("x_{}".format)


@MORE
@given(params=st.dictionaries(NAMES, JSON_VALUES, max_size=4))
def test_any_option_arrives_as_it_is(bench: Bench, params: dict[str, Json]) -> None:
    for target in ("compatible", "openai", "openrouter"):
        seen = bench.same(target, asking(**params))
        assert seen.body is not None
        assert {name: seen.body.get(name) for name in params} == params


KNOWN = st.fixed_dictionaries(
    {},
    optional={
        "temperature": st.floats(0, 1),
        "top_p": st.floats(0.1, 1),
        "stop": st.text(min_size=1, max_size=4)
        | st.lists(st.text(min_size=1, max_size=4), min_size=1, max_size=4),
        "top_k": st.integers(1, 100),
        "max_completion_tokens": st.integers(1, 10**6),
    },
)


@MORE
@given(params=KNOWN, limit=st.integers(1, 10**6))
def test_known_options_arrive_with_any_value(bench: Bench, params: dict[str, Json], limit: int) -> None:
    for target in SHAPES:
        assert bench.same(target, asking(**{**params, "max_tokens": limit})).calls == 1


# Blank texts are in the table of differences.
TEXTS = st.text(min_size=1, max_size=30).filter(str.strip)
MEDIA_TYPES = st.sampled_from(["image/jpeg", "image/png", "image/webp", "image/gif"])
PICTURES = st.builds(Picture, MEDIA_TYPES, st.binary(min_size=1, max_size=40))
USER = st.builds(
    lambda parts: Message("user", tuple(parts)), st.lists(TEXTS | PICTURES, min_size=1, max_size=4)
)
MODEL = st.builds(lambda text: Message("assistant", (text,)), TEXTS)
SYSTEM = st.builds(lambda parts: Message("system", tuple(parts)), st.lists(TEXTS, min_size=1, max_size=2))


@MORE
@given(st.data())
def test_any_conversation_arrives(bench: Bench, data: st.DataObject) -> None:
    told = data.draw(st.lists(SYSTEM, max_size=2))
    said = data.draw(st.lists(USER | MODEL, max_size=4))
    request = Request((*told, *said, data.draw(USER)), {"max_tokens": 50})
    for target in SHAPES:
        seen = bench.same(target, request)
        assert seen.calls == 1
        images = [
            part.encoded for each in request.messages for part in each.parts if isinstance(part, Picture)
        ]
        arrived = bench.server.served[-1].ask
        assert arrived is not None
        assert arrived.images == tuple((image.media_type, image.data) for image in images)


# What comes back.


@pytest.mark.parametrize("target", SHAPES)
def test_answers_counts_and_costs(bench: Bench, target: str) -> None:
    for text in ("A. b", " \n A \t", "<think>hm</think>A", "é😀\u2028", "x" * 5000):
        for usage in (
            Usage(100, 30),
            Usage(100, 30, cached_input_tokens=40),
            Usage(100, 30, cached_input_tokens=40, cache_write_tokens=50),
            Usage(0, 3),
        ):
            bench.text, bench.usage = text, usage
            outcome = bench.same(target, asking()).outcome
            assert isinstance(outcome, Response)
            assert (outcome.text, outcome.finish) == (text, "stop")
            assert outcome.cost == (None if target == "anthropic" else 0.125)
            assert outcome.model == TARGETS[target][1]


def chat(**more: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": "B"}, "finish_reason": "stop"} | more
    counts = {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12}
    head = {"id": "x", "object": "chat.completion", "created": 1, "model": "m"}
    return head | {"choices": [choice], "usage": counts}


def said(**message: Any) -> dict[str, Any]:
    return chat(message={"role": "assistant", "content": "B"} | message)


def counting(**usage: Any) -> dict[str, Any]:
    body = chat()
    return body | {"usage": body["usage"] | usage}


ENDINGS = [
    "stop", "length", "content_filter", "tool_calls", "function_call", "max_tokens", "MAX_TOKENS", "SAFETY",
    "safety", "OTHER", "other", "end_turn", "eos", "STOP", "error", "insufficient_system_resource", "refusal",
    "tool_use", "model_length", "complete", "compaction", "abort", "content_filtered", "pause_turn", "",
    None, 5,
]  # fmt: skip

CHATS: list[Any] = [
    *(chat(finish_reason=word) for word in ENDINGS),
    *(chat(finish_reason=word, message={"role": "assistant", "content": ""}) for word in ENDINGS),
    *(chat(native_finish_reason=word) for word in ENDINGS),
    chat(error={"code": 502, "message": "died"}),
    chat(logprobs={"content": []}),
    said(content=None),
    said(content=None, refusal="no"),
    said(refusal="no"),
    said(refusal=""),
    said(content=None, refusal=""),
    said(tool_calls=[]),
    said(reasoning_content="hm", reasoning="hm"),
    said(content=[{"type": "text", "text": "a"}, {"type": "thinking", "thinking": "hm"}]),
    said(content=5),
    said(content={"a": 1}),
    said(role=None),
    *({name: value for name, value in chat().items() if name != gone} for gone in chat()),
    *(chat() | {"model": model} for model in (None, "", "a/b")),
    *(chat() | {"usage": usage} for usage in (None, {}, [], 5, "x", {"cost": 0.5})),
    *(chat() | {"error": error} for error in (None, {}, "", {"message": "odd"}, "odd", 5, [1])),
    counting(total_tokens=15),
    counting(prompt_tokens=0),
    counting(completion_tokens=0),
    counting(prompt_tokens=-1),
    counting(completion_tokens="2"),
    counting(prompt_tokens_details=None, completion_tokens_details=None),
    counting(prompt_tokens_details=[], completion_tokens_details="x"),
    counting(prompt_tokens_details={"cached_tokens": 4, "cache_write_tokens": 3}),
    counting(prompt_tokens_details={"cached_tokens": 4, "cache_creation_tokens": 3}),
    counting(prompt_tokens_details={"cached_tokens": 8, "cache_write_tokens": 3}),
    counting(prompt_tokens_details={"cached_tokens": 3}, prompt_cache_hit_tokens=4),
    counting(prompt_tokens_details={"cached_tokens": 3}, cache_read_input_tokens=4),
    counting(cache_read_input_tokens=4, cache_creation_input_tokens=2),
    counting(reasoning_tokens=1),
    counting(completion_tokens_details={"reasoning_tokens": 1}),
    counting(completion_tokens_details={"reasoning_tokens": 3}),
    *(counting(cost=cost) for cost in (0, 0.25, -1, True, "0.25", 1e9, [1])),
    counting(cost=0.25, is_byok=True, cost_details={"upstream_inference_cost": 0.5}),
    counting(cost=0.25, is_byok=True, cost_details={}),
    counting(cost=0.25, is_byok=True),
    *([], None, 1, "x", {}, {"foo": 1}),
    *({"choices": choices} for choices in ([], None, {}, [1], [{}], [{"message": None}], [{"text": "B"}])),
]


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")  # OpenAI's SDK, of odd contents
def test_bodies_of_openais_shape(bench: Bench) -> None:
    for body in CHATS:
        bench.fault = Fault("body", text=json.dumps(body))
        for target in OPENAI:
            bench.same(target, asking())


def claude(**more: Any) -> dict[str, Any]:
    body = {
        "id": "m",
        "type": "message",
        "role": "assistant",
        "model": "claude",
        "content": [{"type": "text", "text": "B"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 5, "output_tokens": 3},
    }
    return body | more


STEPS = [
    {"type": "message", "input_tokens": 5, "output_tokens": 3},
    {"type": "compaction", "input_tokens": 50, "output_tokens": 30, "cache_read_input_tokens": 4},
]
CLAUDES: list[Any] = [
    *(
        claude(stop_reason=word, content=content)
        for word in (
            "end_turn", "max_tokens", "stop_sequence", "refusal", "tool_use", "compaction",
            "model_context_window_exceeded", None,
        )
        for content in ([], [{"type": "text", "text": "B"}])
    ),
    *({name: value for name, value in claude().items() if name != gone} for gone in ("id", "type", "role")),
    *({name: value for name, value in claude().items() if name != gone} for gone in ("usage", "stop_reason")),
    *(claude(content=content) for content in (None, "x", 5, [1], [{"type": "text", "text": "  "}])),
    claude(content=[{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]),
    claude(content=[{"type": "thinking", "thinking": "", "signature": "s"}, {"type": "text", "text": "b"}]),
    claude(content=[{"type": "redacted_thinking", "data": "x"}, {"type": "text", "text": "b"}]),
    claude(content=[{"type": "tool_use", "id": "i", "name": "n", "input": {}}]),
    claude(content=[{"type": "odd"}, {"type": "text", "text": "b"}]),
    *(claude(usage=usage) for usage in (None, {}, [], 5, "x", {"input_tokens": 5}, {"output_tokens": 5})),
    claude(usage={"input_tokens": 5, "output_tokens": 0}),
    claude(usage={"input_tokens": 5, "output_tokens": 3, "cache_read_input_tokens": None}),
    claude(usage={"input_tokens": 0, "output_tokens": 3, "cache_read_input_tokens": 7}),
    claude(usage={"input_tokens": 5, "output_tokens": 3, "output_tokens_details": {"thinking_tokens": 2}}),
    claude(usage={"input_tokens": 5, "output_tokens": 3, "iterations": STEPS}),
    claude(usage={"input_tokens": 5, "output_tokens": 3, "iterations": []}),
    claude(usage={"input_tokens": 5.0, "output_tokens": 3}),
    claude(usage={"input_tokens": 5, "output_tokens": -3}),
    claude(usage={"input_tokens": 5, "output_tokens": 3, "cost": 0.5}),
    *(claude(model=model) for model in (None, "")),
    {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}},
    [],
    {},
]  # fmt: skip


def test_bodies_of_anthropics_shape(bench: Bench) -> None:
    for body in CLAUDES:
        bench.fault = Fault("body", text=json.dumps(body))
        bench.same("anthropic", asking())


@pytest.mark.parametrize("text", ["", " ", "<html>", '{"choices": [{"mess', "[" * 5000, "9" * 5000])
def test_what_is_no_json(bench: Bench, text: str) -> None:
    bench.fault = Fault("body", text=text)
    for target in SHAPES:
        outcome = bench.same(target, asking()).outcome
        assert isinstance(outcome, Failed)
        assert (outcome.kind, outcome.billed) == (MalformedResponse, True)


# What goes wrong.

KINDS: list[FaultKind] = [kind for union in get_args(FaultKind) for kind in get_args(union)]
WAITS: list[dict[str, str]] = [
    {},
    {"retry-after": "7"},
    {"retry-after-ms": "1500"},
    {"retry-after": "Thu, 01 Jan 2099 00:00:00 GMT"},
    {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "6m0s"},
    {"anthropic-ratelimit-tokens-reset": "2099-01-01T00:00:00Z"},
]


@pytest.mark.parametrize("kind", KINDS)
def test_every_fault(bench: Bench, kind: FaultKind) -> None:
    slow = kind in ("hang", "drip")
    for headers in WAITS if kind in get_args(ErrorKind) else WAITS[:1]:
        for text in ("", "I will not.") if kind in get_args(OddKind) else ("",):
            bench.fault = Fault(kind, headers, parameter="temperature", text=text)
            for target in SHAPES:
                seen = bench.same(target, asking(temperature=0.0), *((0.2, 2, 8) if slow else ()))
                assert seen.calls == 1


TOLD: list[Json] = [
    {"code": 429, "message": "slow down"},
    {"type": "insufficient_quota", "message": "pay"},
    {"code": 400, "message": "maximum context length is 9"},
    {"code": 502, "message": "upstream died", "metadata": {"raw": "died"}},
    {"message": "odd"},
    "odd",
]


@pytest.mark.parametrize("told", TOLD, ids=json.dumps)
def test_an_error_in_a_success(bench: Bench, told: Json) -> None:
    bench.fault = Fault("body", {"retry-after": "7"}, text=json.dumps({"type": "error", "error": told}))
    for target in SHAPES:
        assert isinstance(bench.same(target, asking()).outcome, Failed)


@pytest.mark.parametrize(
    "message",
    [
        "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.",
        f"Incorrect API key provided: {KEY}, see https://x?key={KEY}",
        "</" + "<script>" * 2_000,
        "line\nline",
        "",
    ],
    ids=["instead", "key", "long", "lines", "empty"],
)
def test_the_words_of_a_refusal(bench: Bench, message: str) -> None:
    for kind in ("unsupported_parameter", "authentication", "rate_limit"):
        bench.fault = Fault(kind, message=message, parameter="max_tokens")
        for target in SHAPES:
            outcome = bench.same(target, asking()).outcome
            assert isinstance(outcome, Failed)
            assert outcome.words is not None
            assert KEY not in outcome.words


# On purpose.


@dataclass(frozen=True)
class Difference:
    """`look` at a call finds `litellm` on the one wire and `direct` on the other."""

    reason: str
    target: str
    look: Callable[[Seen], object]
    litellm: object
    direct: object
    request: Request = field(default_factory=asking)
    body: Any = None


def calls(seen: Seen) -> int:
    return seen.calls


def finish(seen: Seen) -> Finish | type[ProviderError]:
    return seen.outcome.finish if isinstance(seen.outcome, Response) else seen.outcome.kind


def counts(seen: Seen) -> Usage | None:
    assert isinstance(seen.outcome, Response)
    return seen.outcome.usage


def served(seen: Seen) -> str | None:
    assert isinstance(seen.outcome, Response)
    return seen.outcome.model


def sent(name: str) -> Callable[[Seen], Json]:
    def look(seen: Seen) -> Json:
        assert seen.body is not None
        return seen.body.get(name)

    return look


def texts(seen: Seen) -> list[Any]:
    assert seen.body is not None
    messages: Any = seen.body["messages"]
    return [[part["text"] for part in each["content"]] for each in messages]


def roles(seen: Seen) -> list[str]:
    assert seen.body is not None
    messages: Any = seen.body["messages"]
    return [each["role"] for each in messages]


def last(seen: Seen) -> Json:
    assert seen.body is not None
    messages: Any = seen.body["messages"]
    return messages[-1]["content"]


EMPTY = "[System: Empty message content sanitised to satisfy protocol]"
MAP = "LiteLLM refuses what its price map says that the model does not take; here the provider's word counts"
KEEPS = "LiteLLM keeps these names to itself and cannot send them"
CHANGES = "LiteLLM would cut, round or drop the value, so it is refused there"
STATES = "we send what was asked; LiteLLM puts its own words for it"
EFFORT = "LiteLLM makes a token budget of an effort by a table of models; here the user says `thinking`"
WHOLE = "the answer is whole: only a field is missing that nobody needs"
DIFFERENCES = [
    *(
        Difference(MAP, target, calls, 0, 1, asking(**params))
        for target, params in (
            ("openai", {"reasoning_effort": "low"}),
            ("openai", {"thinking": {"type": "enabled"}}),
            ("luna", {"temperature": 0.5}),
            ("luna", {"stop": "x"}),
            ("luna", {"frequency_penalty": 0.5}),
            ("o3", {"top_p": 0.9}),
            ("chat", {"reasoning_effort": "low"}),
            ("claude-5", {"temperature": 0.5}),
            ("claude-5", {"top_k": 4}),
        )
    ),
    *(
        Difference(KEEPS, "anthropic", calls, 0, 1, asking(**params))
        for params in (
            {"metadata": {"user_id": "u"}},
            {"service_tier": "auto"},
            {"user": "u"},
            {"anthropic_beta": ["x"]},
        )
    ),
    *(
        Difference(CHANGES, target, calls, 0, 1, asking(**params))
        for target, params in (
            ("openrouter", {"stop": [*"abcde"]}),
            ("anthropic", {"stop": [*"abcde"]}),
            ("anthropic", {"stop": []}),
            ("anthropic", {"max_tokens": 1.5}),
            ("anthropic", {"thinking": {"type": "adaptive"}}),
        )
    ),
    Difference(EFFORT, "anthropic", calls, 1, 0, asking(reasoning_effort="low")),
    Difference(
        "LiteLLM rewrites a budget as an effort for newer models; here Anthropic says what it takes",
        "claude-5",
        sent("thinking"),
        {"type": "adaptive"},
        {"type": "enabled", "budget_tokens": 1024},
        asking(thinking={"type": "enabled", "budget_tokens": 1024}),
    ),
    Difference(
        "a limit is always among the options; LiteLLM fills in the model's own",
        "anthropic",
        sent("max_tokens"),
        64_000,
        None,
        Request((Message("user", ("q",)),), {}),
    ),
    Difference(
        "LiteLLM knows of o3 only that its map does not say it takes system messages, which it does",
        "o3",
        roles,
        ["user", "user"],
        ["system", "user"],
    ),
    Difference(STATES, "anthropic", texts, [[EMPTY]], [[""]], turns(("user", ""))),
    Difference(STATES, "anthropic", texts, [["a", EMPTY]], [["a", " \n"]], turns(("user", ("a", " \n")))),
    Difference(
        STATES,
        "anthropic",
        texts,
        [["a"], ["b"]],
        [["a"], ["b "]],
        turns(("user", "a"), ("assistant", "b ")),
    ),
    Difference(
        STATES,
        "compatible",
        last,
        "b\nc",
        [{"type": "text", "text": "b"}, {"type": "text", "text": "c"}],
        turns(("user", "a"), ("assistant", ("b", "c"))),
    ),
    Difference(
        "Anthropic takes images in user messages only; LiteLLM drops this one in silence",
        "anthropic",
        calls,
        1,
        0,
        turns(("user", "a"), ("assistant", ("b", Picture())), ("user", "c")),
    ),
    Difference(
        "Anthropic takes system messages at the start only; LiteLLM makes a user's of this one",
        "anthropic",
        calls,
        1,
        0,
        turns(("user", "a"), ("system", "s"), ("user", "b")),
    ),
    *(
        Difference(
            "an answer that ended in an unknown way is none; LiteLLM forgets how Anthropic's ended",
            "anthropic",
            finish,
            "stop",
            MalformedResponse,
            body=claude(stop_reason=word),
        )
        for word in ("pause_turn", "odd")
    ),
    *(
        Difference(WHOLE, target, finish, MalformedResponse, "stop", body=body)
        for target, body in (
            ("compatible", {"choices": [{"message": {"content": "B"}}]}),
            ("openai", chat(message={"role": "x", "content": "B"})),
            ("anthropic", {name: value for name, value in claude().items() if name != "model"}),
        )
    ),
    *(
        Difference("a model is named as the server names it", target, served, "m", f"{route}/m", body=body)
        for target, route in (("compatible", "hosted_vllm"), ("openrouter", "openrouter"))
        for body in (chat() | {"model": f"{route}/m"},)
    ),
    Difference(
        "LiteLLM counts the words of a thought with a tokenizer of its own; nobody is billed by that",
        "anthropic",
        counts,
        Usage(5, 3, reasoning_tokens=1),
        Usage(5, 3),
        body=claude(
            content=[{"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "text", "text": "b"}]
        ),
    ),
    Difference(
        "a part that is more than its whole makes the counts unknown; LiteLLM cuts it down",
        "anthropic",
        counts,
        Usage(5, 3, reasoning_tokens=3),
        None,
        body=claude(
            usage={"input_tokens": 5, "output_tokens": 3, "output_tokens_details": {"thinking_tokens": 9}}
        ),
    ),
]


@pytest.mark.parametrize("line", DIFFERENCES, ids=lambda line: f"{line.target}: {line.reason}")
def test_they_differ_on_purpose(bench: Bench, line: Difference) -> None:
    if line.body is not None:
        bench.fault = Fault("body", text=json.dumps(line.body))
    hosted, direct = bench.both(line.target, line.request)
    assert (line.look(hosted), line.look(direct)) == (line.litellm, line.direct)


def test_an_ask_is_what_arrived(bench: Bench) -> None:
    # What `same` compares is there at all.
    seen = bench.same("compatible", asking())
    assert isinstance(bench.server.served[-1].ask, Ask)
    assert seen.body is not None
    assert seen.body.keys() == {"model", "messages", "max_tokens"}
    assert seen.path == "/v1/chat/completions"
    assert seen.headers == {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
    seen = bench.same("anthropic", asking())
    assert seen.path == "/v1/messages"
    assert (seen.headers["x-api-key"], seen.headers.get("authorization")) == (KEY, None)


# What a bill is behind an error.

NOTHING_DONE = (400, 401, 403, 404, 409, 413, 422, 425, 500, 503, 529)
IN_BETWEEN = (300, 304, 408, 451, 499, 501, 502, 504, 505, 520, 524, 599)
SAYS_ERROR = json.dumps({"error": {"message": "no", "type": "some_error"}})


@pytest.mark.parametrize("status", [*NOTHING_DONE, *IN_BETWEEN, 429])
def test_only_a_providers_own_error_is_free(bench: Bench, status: int) -> None:
    for text, free in (
        (SAYS_ERROR, status in NOTHING_DONE),
        ('{"detail": "no"}', status in NOTHING_DONE),
        ("Internal Server Error", False),
        ("<html><h1>no</h1></html>", False),
        ("{}", False),
        ("", False),
    ):
        bench.fault = Fault("body", text=text, status=status)
        for target in ("compatible", "anthropic"):
            outcome = bench.same(target, asking()).outcome
            assert isinstance(outcome, Failed)
            assert (outcome.billed, outcome.usage) == (not (free or status == 429), None)


@pytest.mark.parametrize("status", [*NOTHING_DONE, *IN_BETWEEN, 429])
def test_a_completion_under_an_error_is_billed_by_its_tokens(bench: Bench, status: int) -> None:
    if status == 304:
        return  # it has no body
    bench.fault = Fault("under_status", text="B", status=status)
    bench.usage = Usage(100, 30)
    for target in ("compatible", "anthropic"):
        outcome = bench.same(target, asking()).outcome
        assert isinstance(outcome, Failed)
        assert (outcome.billed, outcome.usage) == (True, Usage(100, 30))


def test_what_is_no_answer_is_billed_by_its_tokens(bench: Bench) -> None:
    bench.fault = Fault("empty_text")
    for target in ("compatible", "anthropic"):
        outcome = bench.same(target, asking()).outcome
        assert isinstance(outcome, Failed)
        assert (outcome.kind, outcome.usage) == (EmptyAnswer, Usage(100, 30))


def test_a_count_that_stands_twice_is_the_larger(bench: Bench) -> None:
    counted = '"prompt_tokens": 20, "completion_tokens": '
    for usage in (
        f'"usage": {{"prompt_tokens": 10, "completion_tokens": 99}}, "usage": {{{counted}5}}',
        f'"usage": {{{counted}1, "completion_tokens": 99, "completion_tokens": 2}}',
        f'"usage": {{{counted}99}}, "usage": null',
    ):
        choices = '"choices": [{"message": {"role": "assistant", "content": "B"}, "finish_reason": "stop"}]'
        bench.fault = Fault("body", text=f"{{{choices}, {usage}}}")
        outcome = bench.same("compatible", asking()).outcome
        assert isinstance(outcome, Response)
        assert outcome.usage == Usage(20, 99)


def test_a_caches_writes_are_split_by_how_long_it_keeps_them(bench: Bench) -> None:
    split = {"ephemeral_5m_input_tokens": 40, "ephemeral_1h_input_tokens": 60}
    usage = {"input_tokens": 5, "output_tokens": 3, "cache_creation_input_tokens": 100}
    for told, hour in (({"cache_creation": split}, 60), ({}, 100), ({"cache_creation": {}}, 100)):
        message = {
            "id": "x",
            "model": "m",
            "type": "message",
            "role": "assistant",
            "content": [{"type": "text", "text": "B"}],
        }
        bench.fault = Fault(
            "body", text=json.dumps({**message, "stop_reason": "end_turn", "usage": {**usage, **told}})
        )
        outcome = bench.same("anthropic", asking()).outcome
        assert isinstance(outcome, Response)
        assert outcome.usage == Usage(105, 3, 0, 0, 100, hour)


@pytest.mark.parametrize("key", ["sk-0123456789\n", "\u201csk-0123456789\u201d"])
def test_a_key_that_cannot_be_sent_is_free_and_final(bench: Bench, key: str) -> None:
    for make in (Hosted, Direct):
        wire = make.of("openai", "m", base_url=bench.server.url, api_key=key)
        seen = bench._seen(wire, asking(), ())
        assert isinstance(seen.outcome, Failed)
        assert (seen.calls, seen.outcome.kind, seen.outcome.billed) == (0, AuthenticationFailed, False)
