"""Hosted models over real HTTP, against the loopback server: what arrives there, and what comes back."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, get_args

import pytest
from loopback_faults import Ask, Fault, FaultKind, LoopbackServer

from providers import (
    AccessDenied,
    AttemptTimedOut,
    AuthenticationFailed,
    BadRequest,
    ConnectionFailed,
    ContextExceeded,
    EmptyAnswer,
    EncodedImage,
    ImagesUnsupported,
    Json,
    MalformedResponse,
    Message,
    ModelNotFound,
    ParameterRejected,
    ProviderError,
    QuotaExhausted,
    RateLimited,
    Request,
    RequestRefused,
    Response,
    ServerFault,
    Unusable,
    Usage,
)
from providers.catalog import names as catalog
from providers.hosted.library import load
from providers.hosted.wire import Hosted

KEY = "hush-0123456789"
PIXELS = bytes(range(256)) * 3


class Picture:
    """Bytes that are no picture: nobody on the way may look into them."""

    identity: Mapping[str, Json] = {}

    def __init__(self, media_type: str = "image/webp", data: bytes = PIXELS) -> None:
        self.encoded = EncodedImage(media_type, data, 16, 16)

    async def encode(self) -> EncodedImage:
        return self.encoded


def asking(**params: Json) -> Request:
    parts = ("what", Picture(), "is it")
    messages = (Message("system", ("be kind",)), Message("user", parts))
    return Request(messages, {"max_tokens": 50, **params})


def compatible(server: LoopbackServer, **more: Any) -> Hosted:
    return Hosted.of("openai", "any-model", base_url=server.url, **{"timeout": 10, "api_key": KEY, **more})


def anthropic(server: LoopbackServer, **more: Any) -> Hosted:
    model = "claude-haiku-4-5"
    return Hosted.of("anthropic", model, base_url=server.root, **{"timeout": 10, "api_key": KEY, **more})


def gemini(server: LoopbackServer, **more: Any) -> Hosted:
    model = "gemini-2.5-flash"
    return Hosted.of("gemini", model, base_url=server.root, **{"timeout": 10, "api_key": KEY, **more})


def openrouter(server: LoopbackServer, **more: Any) -> Hosted:
    model = "google/gemini-3.8-flash"
    return Hosted.of("openrouter", model, base_url=server.url, **{"timeout": 10, "api_key": KEY, **more})


def openai(server: LoopbackServer, **more: Any) -> Hosted:
    """OpenAI's own route, which LiteLLM takes through the SDK; `load().api_base` leads it here."""
    return Hosted.of("openai", "gpt-4.1-mini", **{"timeout": 10, "api_key": KEY, **more})


type Make = Callable[..., Hosted]

MAKES: list[Make] = [compatible, openai, anthropic, gemini, openrouter]
EVERYBODY = pytest.mark.parametrize("make", MAKES, ids=lambda make: make.__name__)


@pytest.fixture(autouse=True)
def _nobodys_settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for entry in catalog.HOSTED:
        for name in entry.key_variables:
            monkeypatch.delenv(name, raising=False)
    yield
    load().api_base = None


def ask(
    make: Make, request: Request, server: LoopbackServer | None = None, **more: Any
) -> tuple[Response, Ask]:
    """The answer, and the question as it arrived."""
    served = server or LoopbackServer(lambda ask: "B", keep_asks=True)

    async def main() -> Response:
        async with served:
            load().api_base = served.url if make is openai else None
            async with make(served, **more) as hosted:
                return await hosted.complete(request)

    answer = asyncio.run(main())
    arrived = served.served[-1].ask
    assert arrived is not None
    return answer, arrived


def failing(
    make: Make, fault: Fault | None, request: Request | None = None, timeouts: Sequence[float] = (10,)
) -> ProviderError:
    """The error when the server does this; it must have been asked exactly once.

    A longer timeout is tried where nothing had arrived within the one before: a busy machine takes its time.
    """
    server = LoopbackServer(lambda ask: "B", faults=lambda ask, attempt: fault, drip_seconds=0.02)

    async def main() -> ProviderError:
        async with server:
            load().api_base = server.url if make is openai else None
            for timeout in timeouts:
                async with make(server, timeout=timeout) as hosted:
                    with pytest.raises(ProviderError) as caught:
                        await hosted.complete(request or asking())
                if server.calls:
                    break
            return caught.value

    error = asyncio.run(main())
    assert server.calls == 1
    return error


# What arrives.


@EVERYBODY
def test_text_and_image_arrive_in_order_and_unchanged(make: Make) -> None:
    answer, arrived = ask(make, asking())
    assert (answer.text, answer.finish, answer.hit, answer.cost) == ("B", "stop", False, None)
    assert answer.usage == Usage(len(arrived.text) // 4 + 17, 1)
    assert answer.model == arrived.model
    assert arrived.images == (("image/webp", PIXELS),)
    assert arrived.text == "be kind\nwhat\nis it"
    assert arrived.max_tokens == 50
    assert list(map(len, _kinds(arrived))) == [1, 3]


def _kinds(arrived: Ask) -> list[list[str]]:
    """The parts of each message, whatever the shape."""
    body: Any = arrived.body
    if arrived.shape == "gemini":
        found = [body["system_instruction"]["parts"], *(entry["parts"] for entry in body["contents"])]
    else:
        system = [body["system"]] if "system" in body else []
        found = [*system, *(entry["content"] for entry in body["messages"])]
    return [["text"] if isinstance(parts, str) else list(parts) for parts in found]


@EVERYBODY
@pytest.mark.parametrize("media_type", ["image/png", "image/jpeg"])
def test_the_media_type_arrives(make: Make, media_type: str) -> None:
    _, arrived = ask(make, Request((Message("user", (Picture(media_type),)),), {"max_tokens": 5}))
    assert arrived.images == ((media_type, PIXELS),)


@EVERYBODY
def test_a_conversation_keeps_its_roles(make: Make) -> None:
    turns = (
        Message("user", ("q1", Picture())),
        Message("assistant", ("a1",)),
        Message("user", ("q2", Picture())),
    )
    _, arrived = ask(make, Request(turns, {"max_tokens": 5}))
    body: Any = arrived.body
    roles = [entry["role"] for entry in body.get("messages", body.get("contents"))]
    assert roles == ["user", "model" if arrived.shape == "gemini" else "assistant", "user"]
    assert arrived.text == "q1\na1\nq2"
    assert len(arrived.images) == 2


NESTED: Json = {"deep": [1, {"er": None}]}


@pytest.mark.parametrize(
    ("make", "params", "found"),
    [
        (compatible, {"seed": 7}, {"seed": 7}),
        (compatible, {"top_k": 4, "reasoning_effort": "low"}, {"top_k": 4, "reasoning_effort": "low"}),
        (compatible, {"x": NESTED, "metadata": NESTED}, {"x": NESTED, "metadata": NESTED}),
        (compatible, {"max_completion_tokens": 9}, {"max_completion_tokens": 9, "max_tokens": 50}),
        # Names that LiteLLM keeps to itself elsewhere.
        (compatible, {"tags": ["t"], "timeout": 1, "cache": {}}, {"tags": ["t"], "timeout": 1, "cache": {}}),
        (openai, {"seed": 7, "temperature": 0.0}, {"seed": 7, "temperature": 0.0}),
        (openai, {"top_k": 4, "x": NESTED, "user": "u"}, {"top_k": 4, "x": NESTED, "user": "u"}),
        (openrouter, {"seed": 7, "top_k": 4}, {"seed": 7, "top_k": 4}),
        (openrouter, {"reasoning_effort": "low", "x": NESTED}, {"reasoning_effort": "low", "x": NESTED}),
        (openrouter, {"provider": {"max_price": {"prompt": 1}}}, {"provider": {"max_price": {"prompt": 1}}}),
        (openrouter, {}, {"usage": {"include": True}}),
        (
            anthropic,
            {"top_k": 4, "x": NESTED, "temperature": 0.5},
            {"top_k": 4, "x": NESTED, "temperature": 0.5},
        ),
        (anthropic, {"stop": ["z"]}, {"stop_sequences": ["z"]}),
        (anthropic, {"reasoning_effort": "low"}, {"thinking": {"type": "enabled", "budget_tokens": 1024}}),
        (gemini, {"safetySettings": [NESTED]}, {"safetySettings": [NESTED]}),
    ],
)
def test_options_arrive(make: Make, params: dict[str, Json], found: dict[str, Json]) -> None:
    _, arrived = ask(make, asking(**params))
    body = arrived.body
    assert {name: body.get(name) for name in found} == found


def test_google_looks_for_its_options_elsewhere() -> None:
    _, arrived = ask(
        gemini, asking(seed=7, top_k=4, temperature=0.0, x=NESTED, thinkingConfig={"thinkingBudget": 0})
    )
    config = arrived.body["generationConfig"]
    assert config == {
        "max_output_tokens": 50,
        "seed": 7,
        "top_k": 4,
        "temperature": 0.0,
        "x": NESTED,
        "thinkingConfig": {"thinkingBudget": 0},
    }


def test_openais_default_model_is_asked() -> None:
    async def main() -> Any:
        async with LoopbackServer(keep_asks=True) as server:
            load().api_base = server.url
            model = catalog.lookup("openai").default_model or ""
            async with Hosted.of("openai", model, api_key=KEY, timeout=10) as hosted:
                await hosted.complete(asking())
            return server.served[0].ask

    arrived = asyncio.run(main())
    assert arrived.max_tokens == 50
    assert arrived.images == (("image/webp", PIXELS),)


@pytest.mark.parametrize(
    ("make", "name"),
    [(anthropic, "seed"), (anthropic, "metadata"), (openai, "reasoning_effort"), (gemini, "stream")],
)
def test_what_the_provider_does_not_take_is_said_before_sending(make: Make, name: str) -> None:
    async def main() -> None:
        async with LoopbackServer() as server:
            async with make(server) as hosted:
                with pytest.raises(ParameterRejected) as caught:
                    await hosted.complete(asking(**{name: {"low": 1} if name == "metadata" else "low"}))
                assert caught.value.parameter == name
                assert not caught.value.billed
            assert server.calls == 0

    asyncio.run(main())


# Vertex wants Google's credentials; OpenAI's default is asked above, by its own route.
DEFAULTS = [e for e in catalog.HOSTED if e.default_model and e.name not in ("vertex_ai", "openai")]


@pytest.mark.parametrize("entry", DEFAULTS, ids=lambda entry: entry.name)
def test_default_models_are_asked(entry: catalog.HostedProvider) -> None:
    def make(server: LoopbackServer, **more: Any) -> Hosted:
        url = server.root if entry.name in ("anthropic", "gemini") else server.url
        return Hosted.of(entry.name, entry.default_model or "", base_url=url, api_key=KEY, timeout=10)

    answer, arrived = ask(make, asking())
    assert answer.text == "B"
    assert arrived.images == (("image/webp", PIXELS),)
    assert arrived.max_tokens == 50
    assert answer.model == arrived.model


# Keys.


@EVERYBODY
def test_the_key_arrives(make: Make) -> None:
    _, arrived = ask(make, asking())
    sent = {name.lower(): value for name, value in arrived.headers.items()}
    said = sent.get("x-api-key") or sent.get("x-goog-api-key") or sent.get("authorization", "")
    assert said.removeprefix("Bearer ") == KEY


def test_a_server_of_ones_own_needs_no_key() -> None:
    _, arrived = ask(compatible, asking(), api_key=None)
    assert arrived.headers["authorization"] == "Bearer none"


def test_the_users_key_goes_to_her_base_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "from-the-environment")
    _, arrived = ask(compatible, asking(), api_key=None)
    assert arrived.headers["authorization"] == "Bearer from-the-environment"


@EVERYBODY
def test_no_message_holds_the_key(make: Make) -> None:
    told = f"Incorrect API key provided: {KEY}, see https://x?key={KEY}"
    error = failing(make, Fault("authentication", message=told))
    assert type(error) is AuthenticationFailed
    assert KEY not in str(error)
    # Nor does anything that hangs on it, such as LiteLLM's own error with the whole request.
    assert error.__cause__ is None
    assert error.__context__ is None


# What comes back.


def answering(**usage: int) -> LoopbackServer:
    return LoopbackServer(
        lambda ask: "B",
        usage=lambda ask, text: Usage(**{"input_tokens": 100, "output_tokens": 30, **usage}),
        keep_asks=True,
        tells_cost=True,
        cost=lambda ask, usage: 0.125,
    )


@pytest.mark.parametrize("make", [compatible, openai, openrouter, gemini], ids=lambda make: make.__name__)
def test_reasoning_and_cached_tokens_are_counted(make: Make) -> None:
    answer, _ = ask(make, asking(), answering(reasoning_tokens=20, cached_input_tokens=40))
    assert answer.usage == Usage(100, 30, reasoning_tokens=20, cached_input_tokens=40)


def test_cache_writes_are_counted() -> None:
    answer, _ = ask(anthropic, asking(), answering(cached_input_tokens=40, cache_write_tokens=50))
    # Nobody says for how long they are kept: the dearer reading counts.
    assert answer.usage == Usage(100, 30, 0, 40, 50, hour_write_tokens=50)


def test_only_a_cost_that_the_provider_told_is_taken() -> None:
    assert ask(openrouter, asking(), answering())[0].cost == 0.125
    # The map has a price for this model; LiteLLM's own estimate is not taken.
    assert ask(anthropic, asking(), answering())[0].cost is None


def chat(**more: Any) -> str:
    choice = {"index": 0, "message": {"role": "assistant", "content": "B"}, "finish_reason": "stop"}
    body = {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice | more]}
    return json.dumps(body | {"usage": {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12}})


def body_of(text: str, make: Make = compatible) -> Response:
    server = LoopbackServer(faults=lambda ask, attempt: Fault("body", text=text), keep_asks=True)
    return ask(make, asking(), server)[0]


def test_reasoning_is_not_text() -> None:
    said = {"role": "assistant", "content": "B", "reasoning_content": "hmm", "reasoning": "hm"}
    assert body_of(chat(message=said)).text == "B"
    with pytest.raises(MalformedResponse):
        body_of(chat(message={"role": "assistant", "content": None, "reasoning_content": "only this"}))


def test_what_was_not_counted_is_unknown() -> None:
    answer = body_of(
        json.dumps({name: value for name, value in json.loads(chat()).items() if name != "usage"})
    )
    assert answer.usage is None


def test_reasoning_outside_of_the_count_is_added() -> None:
    body = json.loads(chat())
    body["usage"] = {
        "prompt_tokens": 10,
        "completion_tokens": 2,
        "total_tokens": 15,
        "completion_tokens_details": {"reasoning_tokens": 3},
    }
    assert body_of(json.dumps(body)).usage == Usage(10, 5, reasoning_tokens=3)


@pytest.mark.parametrize("make", [compatible, openai, openrouter], ids=lambda make: make.__name__)
@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": True},
        {"prompt_tokens": 10.0},
        {"completion_tokens": "2"},
        {"completion_tokens": float("nan")},
        {"completion_tokens": None, "total_tokens": None},
        {"total_tokens": 10**9 + 1},
        # A part is no more than its whole.
        {"prompt_tokens_details": {"cached_tokens": -1}},
        {"prompt_tokens_details": {"cached_tokens": 11}},
        {"prompt_tokens_details": {"cached_tokens": 6, "cache_write_tokens": 5}},
        {"completion_tokens_details": {"reasoning_tokens": 3}},
    ],
)
def test_counts_that_cannot_be_true_are_unknown(make: Make, usage: dict[str, Any]) -> None:
    body = json.loads(chat())
    body["usage"] |= usage
    answer = body_of(json.dumps(body), make)
    assert (answer.text, answer.usage) == ("B", None)


@pytest.mark.parametrize("wrong", [-9, True, 1.5, "9", 10**12])
def test_so_they_are_over_the_other_wires(wrong: Json) -> None:
    counted = CLAUDE | {"stop_reason": "end_turn", "usage": {"input_tokens": 5, "output_tokens": wrong}}
    answer = body_of(json.dumps(counted), anthropic)
    assert (answer.text, answer.usage) == ("half", None)
    candidate = {"index": 0, "finishReason": "STOP", "content": {"parts": [{"text": "B"}]}}
    metadata = {"promptTokenCount": 9, "candidatesTokenCount": wrong, "totalTokenCount": 9}
    answer = body_of(json.dumps({"candidates": [candidate], "usageMetadata": metadata}), gemini)
    assert (answer.text, answer.usage) == ("B", None)


@pytest.mark.parametrize(
    ("usage", "cost"),
    [
        ({"cost": 0.25}, 0.25),
        ({"cost": 0}, 0.0),
        ({"cost": 0.25, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.5}}, 0.75),
        ({"cost": 0.25, "is_byok": False, "cost_details": {"upstream_inference_cost": 0.5}}, 0.25),
        ({"cost": -1}, None),
        ({"cost": True}, None),
        ({"cost": "0.25"}, None),
        ({"cost": float("nan")}, None),
        ({"cost": float("inf")}, None),
        ({"cost": 10**400}, None),
        ({"cost": [0.25]}, None),
        # A cost outlives counts that cannot be true.
        ({"cost": 0.25, "completion_tokens": -1}, 0.25),
        ({}, None),
    ],
)
def test_costs_as_openrouter_tells_them(usage: dict[str, Any], cost: float | None) -> None:
    body = json.loads(chat())
    body["usage"] |= usage
    assert body_of(json.dumps(body), openrouter).cost == cost


@EVERYBODY
@pytest.mark.parametrize(
    ("kind", "finish"), [("content_filter", "refusal"), ("refusal", "refusal"), ("length", "length")]
)
def test_an_answer_may_be_none_of_the_models_words(make: Make, kind: FaultKind, finish: str) -> None:
    server = LoopbackServer(faults=lambda ask, attempt: Fault(kind), keep_asks=True)
    answer, _ = ask(make, asking(), server)
    assert (answer.text, answer.finish) == ("", finish)
    assert answer.usage is not None


@pytest.mark.parametrize("make", [compatible, openai, openrouter, anthropic], ids=lambda make: make.__name__)
def test_a_refusal_keeps_its_words(make: Make) -> None:
    server = LoopbackServer(faults=lambda ask, attempt: Fault("refusal", text="I will not."), keep_asks=True)
    assert ask(make, asking(), server)[0].text == "I will not."


@pytest.mark.parametrize(
    "reason", ["SAFETY", "RECITATION", "OTHER", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY"]
)
def test_googles_refusals(reason: str) -> None:
    candidate = {"index": 0, "finishReason": reason}
    body = {"candidates": [candidate], "usageMetadata": {"promptTokenCount": 9, "totalTokenCount": 9}}
    assert body_of(json.dumps(body), gemini).finish == "refusal"


def test_half_an_answer_is_cut_off() -> None:
    server = LoopbackServer(faults=lambda ask, attempt: Fault("length", text="half"), keep_asks=True)
    answer, _ = ask(gemini, asking(), server)
    assert (answer.text, answer.finish) == ("half", "length")
    assert body_of(chat(finish_reason="model_length")).finish == "length"


CLAUDE = {
    "id": "m",
    "type": "message",
    "role": "assistant",
    "model": "claude",
    "content": [{"type": "text", "text": "half"}],
    "stop_sequence": None,
    "usage": {"input_tokens": 5, "output_tokens": 3},
}


def test_a_full_context_is_cut_off_too() -> None:
    body = CLAUDE | {"stop_reason": "model_context_window_exceeded"}
    assert body_of(json.dumps(body), anthropic).finish == "length"


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (compatible, chat(finish_reason="error")),
        (compatible, chat(finish_reason="insufficient_system_resource")),
        (openrouter, chat(finish_reason="error", error={"code": 502, "message": "died"})),
        (openrouter, chat(error={"code": 502, "message": "died"})),
        (compatible, chat(message={"role": "assistant", "content": " \n"})),
        (compatible, chat(message={"role": "assistant", "content": [{"type": "audio"}]})),
        (compatible, '{"choices": []}'),
        (compatible, "[]"),
        (compatible, "null"),
        (compatible, '{"foo": 1}'),
        (openai, '{"foo": 1}'),
        (openai, "[]"),
        (openrouter, "[]"),
        (anthropic, '{"foo": 1}'),
        (anthropic, json.dumps({name: value for name, value in CLAUDE.items() if name != "usage"})),
        (gemini, '{"foo": 1}'),
        (gemini, '{"candidates": [], "usageMetadata": {"promptTokenCount": 1, "totalTokenCount": 1}}'),
        (
            gemini,
            '{"candidates": [{"finishReason": "MALFORMED_RESPONSE", "content": {"parts": [{"text": "B"}]}}],'
            ' "usageMetadata": {"promptTokenCount": 1, "totalTokenCount": 1}}',
        ),
    ],
)
def test_a_success_without_an_answer(make: Make, text: str) -> None:
    error = failing(make, Fault("body", text=text))
    assert isinstance(error, MalformedResponse)
    assert error.billed


@EVERYBODY
@pytest.mark.parametrize(
    ("told", "kind", "billed"),
    [
        ({"code": 429, "message": "slow down"}, RateLimited, False),
        ({"code": "429", "message": "slow down"}, RateLimited, False),
        ({"type": "requests", "code": "rate_limit_exceeded"}, RateLimited, False),
        ({"type": "insufficient_quota", "message": "pay"}, QuotaExhausted, False),
        ({"type": "authentication_error", "message": "who?"}, AuthenticationFailed, False),
        ({"code": 403, "message": "no"}, AccessDenied, False),
        ({"code": 404, "status": "NOT_FOUND", "message": "what?"}, ModelNotFound, False),
        ({"code": 400, "message": "maximum context length is 9"}, ContextExceeded, False),
        # Behind these the model may have worked.
        ({"code": 502, "message": "upstream died"}, ServerFault, True),
        ({"type": "overloaded_error", "message": "Overloaded"}, ServerFault, True),
        ({"code": 408, "message": "too slow"}, AttemptTimedOut, True),
        # Nothing is known of these.
        ({"message": "odd"}, MalformedResponse, True),
        ({"type": "invalid_request_error", "code": "odd"}, MalformedResponse, True),
        ("odd", MalformedResponse, True),
    ],
)
def test_an_error_in_a_success(make: Make, told: Json, kind: type[ProviderError], billed: bool) -> None:
    body = json.dumps({"type": "error", "error": told})
    error = failing(make, Fault("body", text=body, headers={"retry-after": "7"}))
    assert type(error) is kind
    assert error.billed is billed
    assert "answered with an error in a success: " in str(error)
    assert error.retry_after == (None if kind is MalformedResponse else 7)


@pytest.mark.parametrize("told", [None, {}, "", {"code": 0, "message": ""}])
def test_an_empty_error_is_none(told: Json) -> None:
    assert body_of(json.dumps(json.loads(chat()) | {"error": told})).text == "B"


@EVERYBODY
@pytest.mark.parametrize(
    "text",
    [
        "<think>hm</think>A",
        "<thinking>hm\n</thinking>\n\nA",
        "<budget:thinking></budget:thinking>A",
        "<reasoning>hm</reasoning> A",
        " \n A. b \n\t",
    ],
)
def test_text_arrives_exactly_as_it_was_sent(make: Make, text: str) -> None:
    server = LoopbackServer(lambda ask: text, usage=lambda ask, text: Usage(10, 5), keep_asks=True)
    assert ask(make, asking(), server)[0].text == text


@pytest.mark.parametrize("make", [compatible, openai, openrouter], ids=lambda make: make.__name__)
def test_text_in_parts_is_joined(make: Make) -> None:
    parts = [
        {"type": "thinking", "thinking": "hm"},
        {"type": "text", "text": "A. "},
        {"type": "text", "text": "b"},
    ]
    answer = body_of(chat(message={"role": "assistant", "content": parts}), make)
    assert (answer.text, answer.usage) == ("A. b", Usage(10, 2))


def test_more_text_than_any_answer_has() -> None:
    longest = "é" * 1_000_000  # escaped on the wire, so six times as long there
    assert body_of(chat(message={"role": "assistant", "content": longest})).text == longest
    error = failing(
        compatible, Fault("body", text=chat(message={"role": "assistant", "content": longest + "x"}))
    )
    assert type(error) is MalformedResponse
    assert error.billed


def test_a_huge_error_is_one_short_line() -> None:
    # A careless pattern takes minutes for this, which the suite's own deadline ends.
    error = failing(compatible, Fault("rate_limit", message="</" + "<script>" * 100_000))
    assert type(error) is RateLimited
    assert len(str(error)) < 400


# What goes wrong.

NOT_BILLED: dict[FaultKind, type[ProviderError]] = {
    "rate_limit": RateLimited,
    "insufficient_quota": QuotaExhausted,
    "payment_required": QuotaExhausted,
    "server_error": ServerFault,
    "unavailable": ServerFault,
    "overloaded": ServerFault,
    "authentication": AuthenticationFailed,
    "permission": AccessDenied,
    "model_not_found": ModelNotFound,
    "bad_request": BadRequest,
    "unsupported_parameter": ParameterRejected,
    "context_exceeded": ContextExceeded,
    "content_policy": RequestRefused,
    "images_unsupported": ImagesUnsupported,
    "bad_image": BadRequest,
}
BILLED: dict[FaultKind, type[ProviderError]] = {
    "reset": ConnectionFailed,
    "disconnect": ConnectionFailed,
    "cut_off": ConnectionFailed,
    "html": MalformedResponse,
    "empty_body": MalformedResponse,
    "torn_json": MalformedResponse,
    "empty_text": EmptyAnswer,
    "drip": AttemptTimedOut,
    "hang": AttemptTimedOut,
}


def test_every_fault_has_its_test() -> None:
    elsewhere = {"content_filter", "refusal", "length", "body", "redirect", "under_status"}
    kinds = {kind for union in get_args(FaultKind) for kind in get_args(union)}
    assert kinds == {*NOT_BILLED, *BILLED} | elsewhere


@EVERYBODY
def test_what_the_provider_refuses(make: Make) -> None:
    for kind, expected in NOT_BILLED.items():
        error = failing(make, Fault(kind, parameter="temperature"), asking(temperature=0.0))
        assert type(error) is expected, kind
        assert error.billed == (expected is RequestRefused), kind
        assert error.status is not None
        assert error.status >= 400
        assert str(error).startswith(f"{make(LoopbackServer()).provider} (")
        assert f" answered {error.status}: " in str(error)
        assert not isinstance(error, ParameterRejected) or error.parameter == "temperature"


@EVERYBODY
def test_a_redirect_is_not_followed(make: Make) -> None:
    # Its clients would go on, and post the request and the key wherever they are led.
    error = failing(make, Fault("redirect"))
    assert (type(error), error.status, error.billed) == (Unusable, 307, True)
    assert " redirects to http://127.0.0.1" in str(error)


@EVERYBODY
def test_what_may_have_been_billed(make: Make) -> None:
    for kind, expected in BILLED.items():
        error = failing(make, Fault(kind), timeouts=(0.25, 2, 8) if expected is AttemptTimedOut else (10,))
        assert type(error) is expected, kind
        assert error.billed
        assert "\n" not in str(error)
        assert len(str(error)) < 400


@EVERYBODY
def test_nobody_there_is_not_billed(make: Make) -> None:
    async def main() -> None:
        server = LoopbackServer()
        async with server:
            load().api_base = server.url
        async with make(server) as hosted:
            with pytest.raises(ConnectionFailed) as caught:
                await hosted.complete(asking())
            assert not caught.value.billed
        assert server.calls == 0

    asyncio.run(main())


def test_an_unknown_host_is_not_billed() -> None:
    async def main() -> None:
        async with Hosted.of("openai", "m", base_url="http://no-such-host.invalid/v1", timeout=10) as hosted:
            with pytest.raises(ConnectionFailed) as caught:
                await hosted.complete(asking())
            assert not caught.value.billed

    asyncio.run(main())


@EVERYBODY
@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after": "Thu, 01 Jan 2099 00:00:00 GMT"}, "until 2099"),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "6m0s"}, 360),
        ({}, None),
    ],
)
def test_how_long_to_wait_is_read_from_the_wire(
    make: Make, headers: dict[str, str], seconds: float | str | None
) -> None:
    if seconds == "until 2099":
        seconds = 4070908800 - time.time()
    error = failing(make, Fault("rate_limit", headers=headers))
    assert error.retry_after == (None if seconds is None else pytest.approx(seconds, abs=120))


def test_google_says_it_in_the_body() -> None:
    assert failing(gemini, Fault("rate_limit", retry_delay="34s")).retry_after == 34


def test_the_name_that_is_asked_for_instead() -> None:
    told = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
    error = failing(compatible, Fault("unsupported_parameter", message=told, parameter="max_tokens"))
    assert isinstance(error, ParameterRejected)
    assert (error.parameter, error.instead) == ("max_tokens", "max_completion_tokens")


@EVERYBODY
def test_a_cancelled_call_is_cancelled(make: Make) -> None:
    async def main() -> None:
        asked = asyncio.Event()

        def hang(ask: Ask, attempt: int) -> Fault:
            asked.set()
            return Fault("hang")

        async with LoopbackServer(faults=hang) as server:
            load().api_base = server.url
            async with make(server) as hosted:
                call = asyncio.create_task(hosted.complete(asking()))
                await asked.wait()
                call.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await call
            assert server.calls == 1

    asyncio.run(main())


def test_what_an_image_raises_is_passed_on() -> None:
    class Broken(Picture):
        async def encode(self) -> EncodedImage:
            raise BadRequest("no picture")

    async def main() -> None:
        async with LoopbackServer() as server, compatible(server) as hosted:
            with pytest.raises(BadRequest, match="no picture"):
                await hosted.complete(Request((Message("user", (Broken(),)),), {}))
            assert server.calls == 0

    asyncio.run(main())


# Who it is, and how it ends.


@pytest.mark.parametrize(
    ("provider", "model", "base_url", "identity"),
    [
        ("gemini", "gemini-x", None, ("gemini", None, "gemini-x")),
        ("gemini", "gemini/gemini-x", None, ("gemini", None, "gemini-x")),
        ("openai", "openai/gpt-oss", None, ("openai", None, "gpt-oss")),
        ("openai", "openai/gpt-oss", "http://h/v1/", ("openai", "http://h/v1", "openai/gpt-oss")),
        ("openrouter", "openrouter/auto", None, ("openrouter", None, "openrouter/auto")),
        ("openrouter", "openrouter/a/b", None, ("openrouter", None, "a/b")),
        ("openrouter", "a/b", None, ("openrouter", None, "a/b")),
    ],
)
def test_identity(
    provider: str, model: str, base_url: str | None, identity: tuple[str, str | None, str]
) -> None:
    found = Hosted.of(provider, model, base_url=base_url, api_key=KEY).identity
    assert (found["provider"], found["endpoint"], found["model"]) == identity
    assert set(found) == {"provider", "endpoint", "model"}


def test_a_server_in_the_environment_is_part_of_the_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://proxy/v1")
    assert Hosted.of("openai", "m").identity["endpoint"] == "http://proxy/v1"


def test_an_unknown_provider_is_a_lookup_error() -> None:
    with pytest.raises(LookupError, match="did you mean anthropic"):
        Hosted.of("antropic", "m")


def test_closing_one_leaves_the_other_its_connections() -> None:
    async def main() -> None:
        async with LoopbackServer(lambda ask: "B") as server:
            first, second = compatible(server), anthropic(server)
            await asyncio.gather(first.complete(asking()), second.complete(asking()))
            await first.aclose()
            assert (await second.complete(asking())).text == "B"
            await second.aclose()
            await second.aclose()
            # And closed is not for ever.
            assert (await first.complete(asking())).text == "B"
            await first.aclose()
            assert [task for task in asyncio.all_tasks() if "litellm" in repr(task)] == []

    asyncio.run(main())


def test_many_at_once() -> None:
    async def main() -> None:
        async with LoopbackServer(lambda ask: ask.question) as server, compatible(server) as hosted:
            requests = [
                Request((Message("user", (f"q{n}", Picture())),), {"max_tokens": 5}) for n in range(60)
            ]
            answers = await asyncio.gather(*map(hosted.complete, requests))
            assert [answer.text for answer in answers] == [f"q{n}" for n in range(60)]
            assert server.calls == 60

    asyncio.run(main())
