"""Where a model runs: what is chosen for a machine, and what cannot be chosen."""

from __future__ import annotations

import pytest

from providers import Unusable
from providers.hf import model as accelerators
from providers.hf.model import choose


@pytest.fixture
def machine(monkeypatch):
    """A machine with this CUDA device, system and build of torch."""

    def be(capability=None, system="linux", torch="2.13.0"):
        monkeypatch.setattr(accelerators, "cuda_capability", lambda number=0: capability)
        monkeypatch.setattr(accelerators.sys, "platform", system)
        monkeypatch.setattr(accelerators.platform, "machine", lambda: "arm64")
        monkeypatch.setattr(accelerators, "version", lambda name: torch)

    return be


@pytest.mark.parametrize(
    ("machine_has", "chosen"),
    [
        ({}, "cpu, float32, sdpa attention"),
        ({"capability": (9, 0)}, "cuda, bfloat16, sdpa attention"),
        ({"capability": (7, 5)}, "cuda, float16, sdpa attention"),
        ({"capability": (9, 0), "torch": "2.13.0+cpu"}, "cpu, float32, sdpa attention"),
        ({"system": "darwin"}, "mps, bfloat16, sdpa attention"),
    ],
)
def test_it_chooses_what_suits_the_machine(machine, machine_has, chosen):
    machine(**machine_has)
    assert str(choose()) == chosen


def test_what_is_asked_for_is_taken(machine):
    machine((9, 0))
    assert str(choose("cpu", "bfloat16", "eager")) == "cpu, bfloat16, eager attention"
    assert str(choose("cuda:1")) == "cuda:1, bfloat16, sdpa attention"


@pytest.mark.parametrize(("device", "dtype"), [("gpu", None), ("cuda:x", None), ("cpu", "int8"), ("", None)])
def test_what_there_is_not_is_named(device, dtype):
    with pytest.raises(Unusable, match=f"There is no (device|precision) '{dtype or device}': give "):
        choose(device, dtype)


def test_a_machine_without_the_driver_has_no_cuda(monkeypatch):
    def missing(name):
        raise OSError(name)

    monkeypatch.setattr(accelerators.ctypes, "CDLL", missing)
    assert accelerators.cuda_capability() is None
