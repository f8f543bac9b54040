"""What vendors' refusals mean: their own words, as published or measured."""

# One case a line reads best, however long.
# ruff: noqa: E501

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.catalog.target import Asked
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
from providers.replies.error_bodies import kind_of, read_body
from providers.replies.refusals import refused


def openai(message: str, code: str | None = None, kind: str = "invalid_request_error") -> str:
    return json.dumps({"error": {"message": message, "type": kind, "param": None, "code": code}})


def anthropic(message: str, kind: str = "invalid_request_error") -> str:
    return json.dumps({"type": "error", "error": {"type": kind, "message": message}, "request_id": "r"})


def google(message: str, status: str = "INVALID_ARGUMENT", *details: object) -> str:
    return json.dumps({"error": {"code": 0, "message": message, "status": status, "details": details}})


DAILY = {"violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}]}
MINUTE = {"violations": [{"quotaId": "GenerateRequestsPerMinutePerProjectPerModel-FreeTier"}]}
GOOGLE_QUOTA = "You exceeded your current quota, please check your plan and billing details."


@pytest.mark.parametrize(
    ("status", "text", "kind"),
    [
        # money
        (429, openai("You exceeded your current quota, ...", "insufficient_quota", "insufficient_quota"), QuotaExhausted),
        (400, openai("Billing hard limit has been reached", "billing_hard_limit_reached"), QuotaExhausted),
        (400, anthropic("Your credit balance is too low to access the Anthropic API."), QuotaExhausted),
        (402, '{"error":{"message":"Insufficient credits. Add more","code":402}}', QuotaExhausted),
        (402, openai("Insufficient Balance"), QuotaExhausted),
        (403, openai("Key limit exceeded (total limit). Manage it using ..."), QuotaExhausted),
        (429, google(GOOGLE_QUOTA, "RESOURCE_EXHAUSTED", DAILY), QuotaExhausted),
        (429, google(GOOGLE_QUOTA, "RESOURCE_EXHAUSTED", MINUTE), RateLimited),
        (429, openai("Rate limit reached for gpt-x on tokens per min (TPM)", "rate_limit_exceeded", "tokens"), RateLimited),
        (429, "", RateLimited),
        # the key
        (401, openai("Incorrect API key provided: sk-x", "invalid_api_key"), AuthenticationFailed),
        (401, anthropic("invalid x-api-key", "authentication_error"), AuthenticationFailed),
        (400, google("API key not valid. Please pass a valid API key.", "INVALID_ARGUMENT"), AuthenticationFailed),
        (400, '{"code":"Client specified an invalid argument","error":"Incorrect API key provided: xa***"}', AuthenticationFailed),
        (403, openai("Project does not have access to model", "unsupported_country"), AccessDenied),
        (403, anthropic("Your account does not have access to this", "permission_error"), AccessDenied),
        # filters
        (400, openai("Your request was rejected by our safety system", "content_policy_violation"), RequestRefused),
        (400, openai("Invalid prompt: your prompt was flagged as potentially violating our usage policy.", "invalid_prompt"), RequestRefused),
        (400, anthropic("Output blocked by content filtering policy"), RequestRefused),
        (400, openai("The response was filtered due to the prompt triggering Azure OpenAI's content management policy", "content_filter"), RequestRefused),
        (403, '{"error":{"code":403,"message":"m requires moderation on X. Your input was flagged for y"}}', RequestRefused),
        # too long
        (400, openai("This model's maximum context length is 8192 tokens.", "context_length_exceeded"), ContextExceeded),
        (400, anthropic("prompt is too long: 209485 tokens > 200000 maximum"), ContextExceeded),
        (400, anthropic("input length and `max_tokens` exceed context limit: 1 + 2 > 3"), ContextExceeded),
        (400, google("The input token count (9) exceeds the maximum number of tokens allowed (8)."), ContextExceeded),
        (400, openai("the request exceeds the available context size", None, "exceed_context_size_error"), ContextExceeded),
        # does not see
        (400, openai("Invalid content type. image_url is only supported by certain models."), ImagesUnsupported),
        (400, openai("This model does not support image inputs."), ImagesUnsupported),
        (404, '{"error":{"message":"No endpoints found that support image input","code":404}}', ImagesUnsupported),
        (400, openai("x is not a multimodal model", None, "BadRequestError"), ImagesUnsupported),
        (400, openai("messages[0].content must be a string"), ImagesUnsupported),
        (400, openai("Failed to deserialize: messages[0]: unknown variant `image_url`, expected `text`"), ImagesUnsupported),
        (500, openai("image input is not supported - hint: you may need to provide the mmproj"), ImagesUnsupported),
        (400, openai("At most 0 image(s) may be provided in one prompt."), ImagesUnsupported),
        # sees, but not this one
        (400, anthropic("messages.0.content.0.image.source.base64: image exceeds 5 MB maximum"), BadRequest),
        (400, anthropic("Could not process image"), BadRequest),
        (400, openai("You uploaded an unsupported image. Please make sure your image has of one of", "image_parse_error"), BadRequest),
        (400, openai("This model does not support image formats other than png"), BadRequest),
        (400, openai("This model does not support images larger than 8000 pixels"), BadRequest),
        (400, openai("The model does not support image type image/tiff"), BadRequest),
        (413, anthropic("Request exceeds the maximum size", "request_too_large"), BadRequest),
        # no such model
        (404, openai("The model `x` does not exist", "model_not_found"), ModelNotFound),
        (404, "404 page not found", ModelNotFound),
        (405, "", ModelNotFound),
        (400, '{"error":{"message":"a/b is not a valid model ID","code":400}}', ModelNotFound),
        (400, '{"object":"error","message":"Invalid model: m","type":"invalid_model","code":"1500"}', ModelNotFound),
        # the provider's trouble
        (500, "", ServerFault),
        (502, "<html>Bad Gateway</html>", ServerFault),
        (529, anthropic("Overloaded", "overloaded_error"), ServerFault),
        (409, "", ServerFault),
        (408, "", AttemptTimedOut),
        # the rest
        (400, openai("max_tokens is too large: 100000. This model supports at most 16384 completion tokens"), BadRequest),
        (422, '{"detail":[{"type":"missing","loc":["body","x"],"msg":"Field required"}]}', BadRequest),
        (418, "", BadRequest),
    ],
)  # fmt: skip
def test_what_it_means(status: int, text: str, kind: type[ProviderError]) -> None:
    assert kind_of(status, read_body(text)) is kind


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (openai("words"), "words"),
        (anthropic("words"), "words"),
        ("[" + google("words") + "]", "words"),
        ('{"error": "words"}', "words"),
        ('{"message": "words"}', "words"),
        ('{"detail": "words"}', "words"),
        ('{"detail":[{"loc":["body","top_q"],"msg":"Extra inputs are not permitted"}]}', "top_q: Extra inputs are not permitted"),
        ('{"error":{"message":"Provider returned error","metadata":{"raw":"words"}}}', "Provider returned error; words"),
        ("no JSON", "no JSON"),
        ("[]", "[]"),
        ("3", "3"),
        ("", ""),
    ],
)  # fmt: skip
def test_the_words(text: str, message: str) -> None:
    assert read_body(text).message == message


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["error", "message", "detail", "metadata", "raw", "loc", "msg"]), inner, max_size=4),
)  # fmt: skip


@given(JSON, st.integers(300, 599))
def test_any_body_means_something(body: object, status: int) -> None:
    read = read_body(json.dumps(body))
    assert isinstance(read.message, str)
    assert issubclass(kind_of(status, read), ProviderError)


@pytest.mark.parametrize(
    ("asked", "text", "said"),
    [
        (Asked("openai", "m", endpoint="http://h:1"), "404: Not Found", "answered 404: Not Found Most servers answer below /v1: try the base URL http://h:1/v1."),
        (Asked("openai", "m", endpoint="http://h:1/api"), '{"detail":"Not Found"}', "try the base URL http://h:1/api/v1."),
        (Asked("openai", "gpt-4o-mni"), openai("The model does not exist", "model_not_found"), "does not exist Did you mean gpt-4o-mini"),
        (Asked("anthropic", "claude-haiku-4.5"), anthropic("model: claude-haiku-4.5", "not_found_error"), "Did you mean claude-haiku-4-5"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_named_with_the_cure(asked: Asked, text: str, said: str) -> None:
    assert said in str(refused(404, {}, text, asked, 0.0))


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        (Asked("openai", "m", endpoint="http://h:1/v1"), "404: Not Found"),
        (Asked("openai", "m", endpoint="http://h:1"), openai("The model `m` does not exist")),
        (Asked("anthropic", "m", endpoint="http://h:1"), "Not Found"),
        (Asked("openai", "gpt-4o"), openai("You have no access to this model", "model_not_found")),
        (Asked("openai", "zzz"), openai("The model does not exist", "model_not_found")),
    ],
)
def test_no_cure_is_made_up(asked: Asked, text: str) -> None:
    sentence = str(refused(404, {}, text, asked, 0.0))
    assert "/v1:" not in sentence
    assert "mean" not in sentence
