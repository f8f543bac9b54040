"""Slots and context: what the user said, and otherwise what fits."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from providers import ImagesUnsupported, Unusable
from providers.llama.gguf import Header
from providers.llama.launch import Device, Files, Settings, open_files, settle

GIB = 1 << 30
# 28 layers, 4 heads of 128 kept: 56 KiB for a token, 448 MiB for a slot of 8,192.
MODEL = Header(
    Path("model.gguf"),
    5 * GIB,
    {
        "general.architecture": "qwen2vl",
        "qwen2vl.block_count": 28,
        "qwen2vl.embedding_length": 3584,
        "qwen2vl.attention.head_count": 28,
        "qwen2vl.attention.head_count_kv": 4,
        "qwen2vl.context_length": 32768,
    },
)
FILES = Files(MODEL, None)
CARD = Device("CUDA0", "a card", 24 * GIB)


@pytest.fixture
def free(monkeypatch):
    """Sets how much memory the machine has free."""

    def so_much(gigabytes: float | None) -> None:
        amount = None if gigabytes is None else int(gigabytes * GIB)
        monkeypatch.setattr("providers.llama.launch.free_memory", lambda: amount)

    monkeypatch.setattr("providers.llama.launch.processors", lambda: 4)
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    return so_much


@pytest.mark.parametrize(("gigabytes", "slots"), [(64, 8), (4, 6), (1.5, 1), (None, 8)])
def test_as_many_slots_as_fit(free, gigabytes, slots):
    free(gigabytes)
    assert settle(FILES, (), None, None, None) == Settings(slots, 8192, None, 4)


def test_what_the_user_says_is_so(free):
    free(64)
    assert settle(FILES, (), 3, 1000, 7) == Settings(3, 1000, 7, 4)


def test_the_models_own_context_is_the_most_that_is_chosen(free):
    free(64)
    short = replace(MODEL, fields={**MODEL.fields, "qwen2vl.context_length": 2048})
    assert settle(Files(short, None), (), None, None, None).ctx == 2048
    silent = replace(MODEL, fields={**MODEL.fields, "qwen2vl.context_length": None})
    assert settle(Files(silent, None), (), None, None, None).ctx == 4096


def test_a_card_has_room_beside_the_weights(free):
    free(1.5)
    assert settle(FILES, (CARD,), None, None, None).slots == 8
    assert settle(FILES, (replace(CARD, free=8 * GIB),), None, None, None).slots == 4
    assert settle(FILES, (CARD,), None, None, 0).slots == 1


def test_what_does_not_fit_names_the_options(free):
    free(2)
    said = (
        "Not enough memory for model.gguf: 4 slots of 8,192 tokens take 1.8 GiB beside the weights, and "
        "1.0 GiB is free: lower --ctx or --slots."
    )
    with pytest.raises(Unusable, match=re.escape(said)):
        settle(FILES, (), 4, None, None)
    with pytest.raises(Unusable, match="Not enough memory"):
        settle(FILES, (), None, 32768, None)


def test_a_sliding_window_takes_less_than_is_known(free):
    free(2)
    sliding = replace(MODEL, fields={**MODEL.fields, "qwen2vl.attention.sliding_window": 1024})
    assert settle(Files(sliding, None), (), 4, None, None).slots == 4
    assert settle(Files(sliding, None), (), None, None, None).slots == 2


@pytest.mark.parametrize(
    ("given", "said"),
    [((0, None, None), "--slots 0"), ((None, 10, None), "--ctx 10"), ((None, None, -1), "--gpu-layers -1")],
)
def test_what_makes_no_sense_is_named(free, given, said):
    free(64)
    with pytest.raises(Unusable, match=said):
        settle(FILES, (), *given)


def test_threads_are_left_alone_where_the_whole_machine_is_ours(free, monkeypatch):
    free(64)
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    assert settle(FILES, (), None, None, None).threads is None


def test_ears_are_no_eyes(monkeypatch):
    ears = Header(Path("ears.gguf"), 1, {"general.architecture": "clip", "clip.has_vision_encoder": False})
    headers = {MODEL.path: MODEL, ears.path: ears}
    monkeypatch.setattr("providers.llama.launch.read_header", headers.__getitem__)
    with pytest.raises(ImagesUnsupported, match="is a projector for sound"):
        open_files(MODEL.path, ears.path)
