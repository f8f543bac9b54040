"""Sampling options of models in this process: read, checked, completed."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from providers import BadRequest, ParameterRejected
from providers.hf.sampler import Options, read_options


def test_every_option_is_read():
    params = {
        "max_tokens": 9,
        "temperature": 1,
        "top_p": 0.5,
        "top_k": 3,
        "repetition_penalty": 1.1,
        "presence_penalty": -1,
        "frequency_penalty": 2,
        "seed": 7,
        "stop": "end",
        "grammar": 'root ::= [01] "," [01]',
        "chat_template_kwargs": {"enable_thinking": False},
    }
    options = read_options(params)
    assert (options.max_tokens, options.temperature, options.top_p, options.top_k) == (9, 1.0, 0.5, 3)
    assert (options.repetition_penalty, options.presence_penalty, options.frequency_penalty) == (1.1, -1, 2)
    assert (options.seed, options.stop, options.template) == (7, ("end",), {"enable_thinking": False})
    assert options.verdicts == 2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_tokens", 0),
        ("max_tokens", 1.5),
        ("max_tokens", True),
        ("temperature", -0.1),
        ("temperature", "hot"),
        ("temperature", float("nan")),
        ("top_p", 0),
        ("top_p", 1.01),
        ("top_k", -1),
        ("repetition_penalty", 0),
        ("presence_penalty", 3),
        ("seed", 2**63),
        ("stop", [""]),
        ("stop", 5),
        ("grammar", 5),
        ("grammar", 'root ::= "yes" | "no"'),
        ("grammar", 'root ::= [01] "," [01]\n'),
        ("grammar", 'root ::= [01] ("," [01])*'),
        ("chat_template_kwargs", []),
    ],
)
def test_a_value_that_cannot_be_is_named(name, value):
    with pytest.raises(BadRequest, match=f"The option {name} is .* but must be") as raised:
        read_options({"max_tokens": 9, name: value})
    assert type(raised.value) is BadRequest


@pytest.mark.parametrize("count", [1, 2, 7])
def test_the_grammar_that_judges_are_given_says_how_many_values(count):
    grammar = "root ::= [01]" + ' "," [01]' * (count - 1)
    assert read_options({"max_tokens": 9, "grammar": grammar}).verdicts == count
    assert Options(max_tokens=9, verdicts=count, repetition_penalty=1.0).steered


def test_an_unknown_option_is_named_with_those_that_are_known():
    with pytest.raises(
        ParameterRejected, match=r"does not know the option logit_bias; it knows chat_tem"
    ) as raised:
        read_options({"max_tokens": 9, "logit_bias": {}})
    assert raised.value.parameter == "logit_bias"


def test_an_output_limit_is_always_there():
    with pytest.raises(BadRequest, match="no max_tokens"):
        read_options({})


def test_what_is_open_is_as_the_model_has_it():
    config = SimpleNamespace(do_sample=True, temperature=0.7, top_p=0.8, top_k=20, repetition_penalty=1.05)
    completed = Options(max_tokens=9).completed(config)
    assert (completed.temperature, completed.top_p, completed.top_k) == (0.7, 0.8, 20)
    assert completed.repetition_penalty == 1.05
    asked = Options(max_tokens=9, temperature=0.0, top_p=1.0, top_k=0, repetition_penalty=1.0)
    assert asked.completed(config) == asked
    assert not asked.steered
    assert completed.steered


@pytest.mark.parametrize("config", [SimpleNamespace(), SimpleNamespace(do_sample=False, temperature=0.7)])
def test_a_model_that_does_not_sample_takes_the_likeliest(config):
    completed = Options(max_tokens=9).completed(config)
    assert (completed.temperature, completed.top_p, completed.top_k) == (0, 1, 0)
    assert not completed.steered
