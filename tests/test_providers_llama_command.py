"""What an engine is started with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from providers import Unusable
from providers.llama.gguf import Header
from providers.llama.launch import Engine, Files, Settings, command, read_overrides

MODEL = Header(Path("a model.gguf"), 1, {})
EYES = Header(Path("mmproj.gguf"), 1, {"general.architecture": "clip"})
SERVER, LIBRARY = Engine(Path("/opt/llama-server"), "1"), Engine(None, "1")


def options(line: list[str]) -> dict[str, str]:
    return dict(zip(line[1::2], line[2::2], strict=True))


def test_the_context_of_a_server_is_that_of_all_its_slots():
    line = command(SERVER, Files(MODEL, None), Settings(4, 2048, None, None), (), 8080)
    assert line[0] == "/opt/llama-server"
    assert options(line) == {
        "-m": "a model.gguf",
        "-np": "4",
        "-c": "8192",
        "--host": "127.0.0.1",
        "--port": "8080",
    }


def test_whatever_is_set_is_passed_on():
    overrides = ("a.b=int:1", "c=str:d")
    line = command(SERVER, Files(MODEL, EYES), Settings(1, 512, 0, 2), overrides, 1)
    more = {"--mmproj": "mmproj.gguf", "-ngl": "0", "-t": "2", "--override-kv": "a.b=int:1,c=str:d"}
    assert more.items() <= options(line).items()


def test_the_worker_is_told_the_same():
    line = command(LIBRARY, Files(MODEL, EYES), Settings(1, 512, None, 2), ("a.b=bool:true",), 1)
    assert json.loads(line[-1]) == {
        "model": "a model.gguf",
        "mmproj": "mmproj.gguf",
        "ctx": 512,
        "gpu_layers": None,
        "threads": 2,
        "overrides": {"a.b": True},
        "port": 1,
    }


def test_overrides_are_read_by_their_kind():
    given = ["a=int:3", "b=float:0.5", "c=bool:false", "d=str:x:y=z", "e=str:"]
    assert read_overrides(given) == {"a": 3, "b": 0.5, "c": False, "d": "x:y=z", "e": ""}


@pytest.mark.parametrize(
    "given", ["", "a", "a=3", "a=int:x", "a=bool:yes", "=int:3", "a=long:3", "a=str:1,2"]
)
def test_what_is_no_override_is_refused(given):
    with pytest.raises(Unusable, match="it looks like tokenizer"):
        read_overrides([given])
