"""Which option was rejected, by the words of those who rejected it."""

import pytest

from providers.replies.error_bodies import rejected_option

SENT = ("max_tokens", "temperature", "seed", "top_k", "stop", "n", "reasoning_effort", "nested", "user")


@pytest.mark.parametrize(
    ("message", "parameter", "found"),
    [
        # OpenAI
        (
            "Unsupported parameter: 'max_tokens' is not supported with this model. "
            "Use 'max_completion_tokens' instead.",
            "max_tokens",
            ("max_tokens", "max_completion_tokens"),
        ),
        (
            "Unsupported value: 'temperature' does not support 0.0 with this model. Only the default (1).",
            "temperature",
            ("temperature", None),
        ),
        ("Unknown parameter: 'nested'.", "nested", ("nested", None)),
        ("Unknown parameter: 'nested.a'.", "nested.a", ("nested", None)),
        ("Unrecognized request argument supplied: top_k", "", ("top_k", None)),
        ("Unrecognized request argument supplied: nested", "", ("nested", None)),
        # Anthropic
        ("seed: Extra inputs are not permitted", "", ("seed", None)),
        ("`temperature` is deprecated for this model.", "", ("temperature", None)),
        ("`temperature` and `top_p` cannot both be specified for this model.", "", ("temperature", None)),
        # Google
        (
            "Invalid JSON payload. Unknown name \"nested\" at 'generation_config': Cannot find field.",
            "",
            ("nested", None),
        ),
        ('Unknown name "thinkingLevel" at ...', "", ("reasoning_effort", None)),
        # Groq, xAI, Mistral, LiteLLM
        ("property 'nested' is unsupported", "", ("nested", None)),
        ("Model grok does not support parameter reasoningEffort.", "", ("reasoning_effort", None)),
        ("Argument not supported on this model: stop", "", None),
        ("random_seed: Extra inputs are not permitted", "", ("seed", None)),
        ("anthropic does not support parameters: ['seed', 'n'], for model=m.", "", ("seed", None)),
        ("m doesn't support temperature=0.0 while reasoning is active.", "", ("temperature", None)),
        ("claude-x does not support top_k=4.", "", ("top_k", None)),
        # another option that is asked for instead is not this one under another name
        (
            "Unsupported parameter: 'temperature'. Use 'max_completion_tokens' instead.",
            "temperature",
            ("temperature", None),
        ),
        ("Unknown parameter: 'top_k'. Use 'temperature' instead.", "top_k", ("top_k", None)),
        # an option that is only mentioned
        ("Unexpected end of the request near temperature.", "", None),
        ("The request failed at temperature=0.0: images are not supported here.", "", None),
        ("This endpoint is not available. temperature, seed and stop were read.", "", None),
        ("temperature looks odd; top_k too. It is not allowed to ask so often.", "", None),
        # nothing of ours
        ("temperature: must be at most 1", "", None),
        ("max_tokens is too large: 9. This model supports at most 8 completion tokens", "max_tokens", None),
        ("User location is not supported for the API use. Please stop.", "", None),
        ("messages.0.content: Extra inputs are not permitted", "", None),
        ("Unsupported value: 'messages[0].content'", "messages[0].content", None),
        ("This model does not support images", "", None),
        ("", "", None),
    ],
)
def test_the_option(message: str, parameter: str, found: tuple[str, str | None] | None) -> None:
    assert rejected_option(message, parameter, SENT) == found


def test_a_renamed_option_is_told_by_the_name_that_we_sent() -> None:
    message = "Unsupported parameter: 'max_completion_tokens' is not supported."
    assert rejected_option(message, "max_completion_tokens", ("max_tokens",)) == ("max_tokens", None)


def test_a_code_beside_the_name_is_word_enough() -> None:
    assert rejected_option("No.", "temperature", SENT, "unsupported_value invalid_request_error") == (
        "temperature",
        None,
    )
    assert rejected_option("No temperature.", "", SENT, "unsupported_value") is None
    assert rejected_option("No.", "temperature", SENT, "invalid_value") is None
