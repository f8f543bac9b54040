"""llama.cpp's faults in one sentence: the lines are what its own processes wrote."""

from __future__ import annotations

import json

import pytest

from providers import BadRequest, ContextExceeded, ParameterRejected, ServerFault, Unusable
from providers.catalog.target import Asked
from providers.llama.engine import read_error
from providers.llama.process import why_it_ended

ASKED = Asked("llama.cpp", "tiny.gguf", ("max_tokens", "nonsense"))


@pytest.mark.parametrize(
    ("log", "said"),
    [
        (
            "0.00.035.218 E mtmd_init_from_file: error: mismatch between text model (n_embd = 64) and mmproj "
            "(n_embd = 96)\nhint: you may be using wrong mmproj",
            "the --mmproj was made for another model (mismatch between text model (n_embd = 64) and mmproj "
            "(n_embd = 96)); name the one that came with this model",
        ),
        ("loading model 'x'\nfree(): invalid pointer", "add --override-kv tokenizer.ggml.pre=str:gpt-2"),
        (
            "llama_model_load: error loading model: tensor 'output.weight' data is not within the file "
            "bounds, model is corrupted or incomplete",
            "its file is cut off; fetch it again",
        ),
        (
            "E llama_model_load: error loading model: error loading model architecture: "
            "unknown model architecture: 'qwen9'",
            "this llama.cpp is too old for it ('qwen9'); name a newer one with --llama-server",
        ),
        (
            "ggml_backend_cuda_buffer_type_alloc_buffer: allocating 9000.00 MiB on device 0: cudaMalloc "
            "failed: out of memory",
            "there is not enough memory (out of memory); lower --ctx, --slots or --gpu-layers",
        ),
        ("terminate called: std::bad_alloc", "there is not enough memory"),
    ],
)
def test_a_known_death_names_its_fix(log, said):
    assert said in str(why_it_ended(log, "tiny.gguf", "otherwise"))


def test_an_unknown_death_is_quoted():
    error = why_it_ended("something else", "tiny.gguf", "llama.cpp ended with status 1: something else.")
    assert isinstance(error, Unusable)
    assert str(error) == "llama.cpp ended with status 1: something else."


def test_a_death_without_a_word_may_be_the_memory():
    error = why_it_ended("loading model", "tiny.gguf", "llama.cpp was killed by SIGKILL: loading model")
    assert str(error).endswith("loading model. If nobody killed it, memory ran out: lower --ctx or --slots.")


def body(message: str, kind: str = "invalid_request_error", **more: object) -> str:
    return json.dumps({"error": {"code": 400, "message": message, "type": kind, **more}})


@pytest.mark.parametrize(
    ("status", "text", "error", "said"),
    [
        (
            400,
            body("too long", "exceed_context_size_error", n_prompt_tokens=819, n_ctx=256),
            ContextExceeded,
            "The prompt has 819 tokens, and a slot takes 256: raise --ctx",
        ),
        (400, body("too long", "exceed_context_size_error"), ContextExceeded, "too many tokens"),
        (
            400,
            body("Failed to initialize samplers: failed to parse grammar"),
            BadRequest,
            "grammar or schema",
        ),
        (400, body("Failed to load image or audio file"), BadRequest, "Failed to load image"),
        (400, body("Unknown parameter: 'nonsense'."), ParameterRejected, "nonsense"),
        (500, body("Compute error.", "server_error"), ServerFault, "Compute error"),
        (503, body("Loading model", "unavailable_error"), ServerFault, "Loading model"),
        (500, "no JSON", ServerFault, "no JSON"),
        (400, "[]", BadRequest, "400"),
        (400, '{"error": "words"}', BadRequest, "words"),
        (400, '{"error": {"message": null, "type": null}}', BadRequest, "400"),
    ],
)
def test_a_no_is_an_error_by_what_to_do_about_it(status, text, error, said):
    found = read_error(status, {}, text, ASKED)
    assert type(found) is error
    assert said in str(found)
    assert found.status == status
