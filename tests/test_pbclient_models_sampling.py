from __future__ import annotations

import pytest

from pbclient import InputError, RunConfig

REFUSED = [
    {"max_tokens": 5},
    {"maxOutputTokens": 9999},
    {"max_output_tokens": 9999},
    {"generationConfig": {"maxOutputTokens": 9999}},
    {"generation_config": {"candidate-count": 8}},
    {"n": 2},
    {"best_of": 2},
    {"max_tokens_to_sample": 1},
    {"models": ["a/dearer-one"]},
    {"system": "be long"},
    {"cachedContent": "x"},
    {"search_parameters": {}},
    {"extra_body": {"n": 3}},
    {"top_p": float("nan")},
    {"top_p": {1, 2}},
    {"stream": True},
]
TAKEN = [
    {"top_p": 0.5, "seed": 3},
    {"reasoning_effort": "high"},
    {"thinking": {"type": "enabled", "budget_tokens": 1024}},
    {"response_format": {"type": "json_schema", "json_schema": {"schema": {"properties": {"n": {}}}}}},
    {"own_option": {"deep": [1, {"more": None}]}},
]


@pytest.mark.parametrize("params", REFUSED)
def test_options_that_would_break_the_bound_are_refused_by_name(params):
    with pytest.raises(InputError, match="--param"):
        RunConfig(provider="openai", params=params)


@pytest.mark.parametrize("params", TAKEN)
def test_options_that_shape_the_answer_are_taken(params):
    assert RunConfig(provider="openai", params=params).params == params


def test_notebooks_may_write_plain_values():
    config = RunConfig(provider="openai", max_cost=5, data="folder", datasets="ROD")
    assert (str(config.max_cost), str(config.data), config.datasets) == ("5", "folder", ("ROD",))


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_cost": float("nan")},
        {"max_cost": -1},
        {"max_cost": "five"},
        {"temperature": "x"},
        {"temperature": -0.1},
        {"timeout": 0},
        {"timeout": float("inf")},
        {"limit": 0},
        {"limit": 1.5},
        {"repeat": True},
        {"concurrency": -1},
        {"seed": "x"},
    ],
)
def test_values_that_cannot_be_are_named(wrong):
    [name] = wrong
    with pytest.raises(InputError, match=f"--{name.replace('_', '-')}"):
        RunConfig(provider="openai", **wrong)
