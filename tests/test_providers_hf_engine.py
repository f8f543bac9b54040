"""Real models through transformers: tiny, random, of several families, on the processor."""

from __future__ import annotations

import asyncio
import json
import random
import re
import shutil
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Coroutine, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from pbclient.config import RunConfig
from pbclient.errors import InputError
from pbclient.scheduler.plan import prepare
from providers import (
    AttemptTimedOut,
    BadRequest,
    ContextExceeded,
    EncodedImage,
    ImageRejected,
    ImagesUnsupported,
    Json,
    Message,
    ModelNotFound,
    ParameterRejected,
    ProviderError,
    Request,
    Response,
    Unusable,
)
from providers.hf import batch as transformers_batch
from providers.hf import model as transformers_model
from providers.hf.engine import LocalTransformers
from providers.hf.folder import abilities
from providers.weights import Digests

torch = pytest.importorskip("torch", reason="the extra transformers is not installed")
pytest.importorskip("transformers", reason="the extra transformers is not installed")
tiny = pytest.importorskip("tiny_models")

pytestmark = pytest.mark.slow

FAMILIES = sorted(tiny.VISION)


@pytest.fixture(scope="module", autouse=True)
def _few_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> Callable[[str], Path]:
    """Folders of tiny models by family, made when a test asks."""
    home = tmp_path_factory.mktemp("models")

    def folder(family: str) -> Path:
        path = home / family
        return path if path.is_dir() else (tiny.VISION | {"text": tiny.llama})[family](path)

    return folder


class Picture:
    """Noise, or bytes that are no picture."""

    identity: Mapping[str, Json] = {}

    def __init__(self, width: int, height: int, seed: int = 0, data: bytes | None = None) -> None:
        from PIL import Image

        noise = random.Random(seed).randbytes(width * height * 3)
        Image.frombytes("RGB", (width, height), noise).save(held := BytesIO(), "PNG")
        self.encoded = EncodedImage("image/png", held.getvalue() if data is None else data, width, height)

    async def encode(self) -> EncodedImage:
        return self.encoded


def asking(*parts: Any, **params: Json) -> Request:
    system = Message("system", ("be brief",))
    return Request((system, Message("user", parts)), {"max_tokens": 12, "temperature": 0, **params})


def questions(**params: Json) -> list[Request]:
    """Different lengths, sizes and numbers of images; two without any."""
    sizes = ((40, 90), (300, 60), (64, 64), (120, 200), (90, 40), (33, 47))
    pictures = [Picture(width, height, seed) for seed, (width, height) in enumerate(sizes)]
    asked = [asking(picture, "what is it? " * (1 + n % 3), **params) for n, picture in enumerate(pictures)]
    several = asking(pictures[0], "and", pictures[3], "together?", **params)
    return [*asked, several, asking("no image", **params), asking("none, and more words", **params)]


async def one_by_one(provider: LocalTransformers, requests: Sequence[Request]) -> list[Response]:
    return [await provider.complete(request) for request in requests]


async def together(provider: LocalTransformers, requests: Sequence[Request]) -> list[Any]:
    """Answers and errors; all that can be asked is waiting when the device begins."""
    await provider.start()
    owner, begin = provider._owner, threading.Event()
    owner.call(begin.wait)
    tasks = [asyncio.create_task(provider.complete(request)) for request in requests]
    while len(owner._rows) + sum(task.done() for task in tasks) < len(tasks):
        await asyncio.sleep(0)
    begin.set()
    return await asyncio.gather(*tasks, return_exceptions=True)


def asked(folder: Path, work: Callable[[LocalTransformers], Coroutine[Any, Any, Any]], **options: Any) -> Any:
    """What `work` makes of a provider that is closed afterwards."""

    async def play() -> Any:
        async with LocalTransformers(folder, device="cpu", **options) as provider:
            return await work(provider)

    return asyncio.run(play())


@pytest.fixture
def batches(monkeypatch) -> list[int]:
    """How many rows each batch had."""
    sizes: list[int] = []
    run = transformers_batch.run

    def spy(loaded, rows, closing):
        sizes.append(len(rows))
        run(loaded, rows, closing)

    monkeypatch.setattr(transformers_batch, "run", spy)
    return sizes


def one_image(request: Request) -> bool:
    return sum(not isinstance(part, str) for message in request.messages for part in message.parts) == 1


@pytest.mark.parametrize("family", FAMILIES)
def test_batched_answers_are_those_given_one_by_one(folders, family, batches):
    plain = family == "instructblip"  # it takes one image with each question
    requests = [request for request in questions() if one_image(request) or not plain]

    async def both(provider):
        return await one_by_one(provider, requests), await together(provider, requests)

    alone, batched = asked(folders(family), both, batch=7)
    assert batched == alone
    # Text goes in a batch of its own; the rest shared one.
    assert batches[-1] == 6 if plain else sorted(batches[-2:]) == [2, 7]
    texts = [response.text for response in alone]
    assert len(set(texts)) >= len(texts) - 2  # else equality would prove little
    assert all(response.usage.output_tokens <= 12 for response in alone)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_answer_depends_on_the_image_and_counts_its_tokens(folders, family):
    requests = [asking(Picture(90, 60, seed), "what is it?") for seed in (1, 2)]
    if family != "instructblip":
        requests += [asking("what is it?")]
    one, other, *blind = asked(folders(family), lambda provider: one_by_one(provider, requests))
    assert one.text != other.text
    assert one.usage.input_tokens == other.usage.input_tokens
    assert all(answer.usage.input_tokens < one.usage.input_tokens for answer in blind)


def test_what_a_family_can_is_known_without_its_weights(folders, monkeypatch):
    monkeypatch.setattr(transformers_model, "load", None)
    known = {family: abilities(folders(family)) for family in FAMILIES}
    assert [family for family, each in known.items() if not each.several_images] == ["instructblip"]
    assert [family for family, each in known.items() if not each.chat_template] == ["instructblip"]
    for conditions in ({"history": True}, {"shots": 1, "datasets": ("ROD",)}):
        config = RunConfig(
            provider="transformers", model=str(folders("instructblip")), device="cpu", **conditions
        )
        words = "instructblip takes one image at a time: leave --"
        with pytest.raises(InputError, match=words), prepare(config, lambda said: None):
            pass


def test_a_model_without_a_template_is_asked_one_image_and_the_bare_text(folders):
    request = Request((Message("user", (Picture(60, 60), Picture(60, 60, 1), "which?")),), {"max_tokens": 4})
    two, none = asked(
        folders("instructblip"), lambda provider: together(provider, [request, asking("no image")])
    )
    assert isinstance(two, BadRequest)
    assert isinstance(none, BadRequest)
    assert "takes one image with a question, and 2 are shown" in str(two)


def test_a_picture_that_the_processor_does_not_take_is_told_from_other_faults(folders):
    requests = [asking(Picture(2000, 3), "what is it?"), asking(Picture(60, 60), "what is it?")]
    [refused, answered] = asked(folders("qwen2.5-vl"), lambda provider: together(provider, requests))
    assert isinstance(refused, ImageRejected)
    assert isinstance(answered, Response)


def test_the_answer_is_that_of_the_example_loop(folders):
    """As `proactivebench/tests/mcqa.py` asks: one sample, its processor, `generate`, `decode`."""
    import transformers as hf
    from PIL import Image

    folder, picture = folders("llava-onevision"), Picture(150, 100, 3)
    processor = hf.AutoProcessor.from_pretrained(folder)
    model = hf.AutoModelForImageTextToText.from_pretrained(folder, dtype="float32")
    spoken = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Which?"}]}]
    chat = processor.apply_chat_template(spoken, add_generation_prompt=True)
    image = Image.open(BytesIO(picture.encoded.data)).convert("RGB")
    inputs = processor(images=[image], text=[chat], padding=True, return_tensors="pt")
    said = model.generate(**inputs, max_new_tokens=50, pad_token_id=processor.tokenizer.eos_token_id)
    expected = processor.decode(said[0][inputs["input_ids"].shape[1] :], skip_special_tokens=True)

    request = Request((Message("user", (picture, "Which?")),), {"max_tokens": 50, "temperature": 0})
    [response] = asked(folder, lambda provider: one_by_one(provider, [request]))
    assert response.text == expected


def test_each_row_has_its_own_options_limit_and_end(folders):
    base = "the red object"
    limits = [asking(base, max_tokens=most) for most in (1, 5, 40)]
    seeded = [asking(base, temperature=1.5, seed=seed, max_tokens=40) for seed in (1, 1, 2)]
    held = asking(base, repetition_penalty=1.8, presence_penalty=1, max_tokens=40)
    requests = [*limits, *seeded, held]

    async def both(provider):
        return await one_by_one(provider, requests), await together(provider, requests)

    alone, batched = asked(folders("text"), both, batch=len(requests))
    assert batched == alone  # a seed draws the same whoever shares the batch
    one, five, forty, first, again, other, penal = [response.text for response in batched]
    assert forty.startswith(five)
    assert five.startswith(one)
    assert [response.usage.output_tokens for response in batched[:2]] == [1, 5]
    assert [response.finish for response in batched[:2]] == ["length", "length"]
    assert first == again
    assert len({forty, first, other, penal}) == 4


def test_a_stop_text_ends_the_answer_before_it(folders):
    async def ask(provider):
        whole = await provider.complete(asking("go on", max_tokens=12))
        stop = whole.text.strip()[4:6]
        return whole, stop, await provider.complete(asking("go on", stop=["never", stop], max_tokens=12))

    whole, stop, cut = asked(folders("text"), ask)
    assert cut.text == whole.text.partition(stop)[0]
    assert cut.finish == "stop"
    assert cut.usage.output_tokens < whole.usage.output_tokens


VERDICTS = 'root ::= [01] "," [01] "," [01]'


@pytest.mark.parametrize("family", ["text", "qwen2.5-vl"])
def test_verdicts_under_a_grammar_always_parse(folders, family):
    parts = (Picture(60, 60), "grade") if family != "text" else ("grade",)
    requests = [asking(*parts, f"answer {n}", grammar=VERDICTS, max_tokens=20) for n in range(6)]
    hot = {"grammar": VERDICTS, "max_tokens": 20, "temperature": 50}
    requests += [asking(*parts, "answer", seed=seed, **hot) for seed in range(4)]
    requests += [asking(*parts, "free")]
    responses = asked(folders(family), lambda provider: together(provider, requests))
    for response in responses[:-1]:
        assert re.fullmatch("[01](,[01]){2}", response.text)
        assert response.finish == "stop"
    assert len({response.text for response in responses}) > 2
    assert not re.fullmatch("[01](,[01]){2}", responses[-1].text)


@pytest.mark.parametrize(
    ("params", "error", "said"),
    [
        ({"logprobs": True}, ParameterRejected, "does not know the option logprobs"),
        ({"temperature": -1}, BadRequest, "temperature is -1, but must be"),
        ({"grammar": "root ::= [A-C]"}, BadRequest, "but must be the grammar of a verdict"),
        ({"chat_template_kwargs": {"tokenize": True}}, BadRequest, "chat template"),
    ],
)
def test_what_cannot_be_asked_is_said_and_harms_nobody_else(folders, params, error, said):
    requests = [asking("one"), asking("two", **params), asking("three")]
    one, two, three = asked(folders("text"), lambda provider: together(provider, requests))
    assert isinstance(two, error)
    assert said in str(two)
    assert isinstance(one, Response)
    assert isinstance(three, Response)


def test_a_row_that_cannot_be_read_fails_alone(folders, batches):
    requests = questions()[:3]
    sliver = asking(Picture(3, 900), "too narrow")
    broken = asking(Picture(8, 8, data=b"no picture"), "broken")
    long = asking(Picture(60, 60), "word " * 5000)
    asked_all = [*requests, sliver, broken, long]

    async def both(provider):
        return await one_by_one(provider, requests), await together(provider, asked_all)

    alone, answers = asked(folders("qwen2.5-vl"), both)
    assert answers[:3] == alone
    assert [type(answer) for answer in answers[3:]] == [ImageRejected, BadRequest, ContextExceeded]
    assert "does not take these images (3x900 pixels): absolute aspect ratio" in str(answers[3])
    assert "cannot be decoded" in str(answers[4])
    assert re.search(r"has \d+ tokens with its images, but the model reads 4096", str(answers[5]))


def test_an_answer_has_the_room_that_the_context_leaves(tmp_path):
    folder = tiny.llama(tmp_path / "m", context=64)

    async def ask(provider):
        return await provider.complete(asking("x", max_tokens=500))

    response = asked(folder, ask)
    assert response.finish == "length"
    assert response.usage.input_tokens + response.usage.output_tokens == 64


def test_an_answer_that_ends_at_once_is_one_that_says_nothing(tmp_path):
    tokens = tiny.tokenizer()
    mute = [token for token in range(len(tokens)) if token != tokens.eos_token_id]
    folder = tiny.llama(tmp_path / "m", suppress_tokens=mute)
    requests = [asking("x", temperature=heat) for heat in (0, 1)]
    for answer in asked(folder, lambda provider: together(provider, requests)):
        assert (answer.text, answer.finish) == ("", "stop")
        assert answer.usage.output_tokens > 0


def test_a_text_model_sees_no_images(folders):
    with pytest.raises(ImagesUnsupported, match="sees no images"):
        asked(folders("text"), lambda provider: provider.complete(asking(Picture(9, 9), "what?")))


def test_full_memory_halves_the_batch_and_every_answer_comes(folders, monkeypatch, batches):
    generate = transformers_batch._run
    said: list[str] = []

    def tight(loaded, rows, closing):
        if len(rows) > 2:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        generate(loaded, rows, closing)

    monkeypatch.setattr(transformers_batch, "_run", tight)
    requests = questions()[:6]

    async def both(provider):
        return (
            await one_by_one(provider, requests),
            await together(provider, requests),
            await provider.facts(),
        )

    alone, answers, facts = asked(folders("llava"), both, batch=6, say=said.append)
    assert answers == alone
    assert batches[6:] == [6, 3, 1, 1, 1, 1, 1, 1]
    assert facts["batch"] == 1
    assert [text for text in said if "memory" in text] == [
        "A batch of 6 did not fit into memory: from now on at most 3 at once.",
        "A batch of 3 did not fit into memory: from now on at most 1 at once.",
    ]


def test_an_asker_that_goes_breaks_no_batch(folders):
    async def ask(provider):
        tasks = [asyncio.create_task(provider.complete(request)) for request in questions()[:4]]
        whole = await provider.complete(questions()[0])
        doomed = asyncio.create_task(provider.complete(asking("x" * 30, max_tokens=4000)))
        mates = [asyncio.create_task(provider.complete(asking("y" * n, max_tokens=9))) for n in (8, 9)]
        await asyncio.wait(mates)
        doomed.cancel()
        tasks[1].cancel()
        return whole, await asyncio.gather(*tasks, doomed, *mates, return_exceptions=True)

    whole, ended = asked(folders("llava"), ask)
    assert ended[0] == whole
    assert isinstance(ended[4], asyncio.CancelledError)
    assert all(isinstance(each, Response) for each in ended[5:])


def test_closing_in_the_middle_ends_at_the_next_token(folders):
    async def ask():
        provider = LocalTransformers(folders("text"), device="cpu")
        await provider.start()
        model = weakref.ref(provider._loaded.model)
        begun = threading.Event()
        provider._owner._run = lambda rows: (begun.set(), provider._run(rows))
        task = asyncio.create_task(provider.complete(asking("x", max_tokens=4000)))
        await asyncio.to_thread(begun.wait)
        await provider.aclose()
        await provider.aclose()
        facts = await provider.facts()
        assert model() is None  # what two models on one device need
        with pytest.raises(ProviderError, match="was closed"):
            await task
        with pytest.raises(Unusable, match="was closed"):
            await provider.complete(asking("x"))
        return facts

    facts = asyncio.run(ask())
    assert facts["model"] == "LlamaForCausalLM"
    assert facts["peak bytes"] > 0


def test_a_deadline_counts_from_when_the_batch_begins(folders):
    async def ask(provider):
        await provider.start()
        return await together(provider, [asking("x", max_tokens=4000), asking("y", max_tokens=4000)])

    answers = asked(folders("text"), ask, timeout=0.01, batch=1)
    assert [type(answer) for answer in answers] == [AttemptTimedOut] * 2
    assert "did not answer within 0.01 s" in str(answers[0])


def test_nothing_of_the_engine_is_imported_before_start(folders):
    program = (
        "import sys\nfrom providers.hf.engine import LocalTransformers\n"
        f"provider = LocalTransformers({str(folders('text'))!r})\n"
        "assert provider.identity['engine'].startswith('transformers ')\n"
        "print(sorted({'torch', 'transformers', 'PIL', 'numpy', 'huggingface_hub'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_key_knows_the_weights_and_no_path(folders, tmp_path):
    def identity(folder: Path, **options: Any) -> dict[str, Json]:
        return dict(LocalTransformers(folder, **{"device": "cpu", **options}).identity)

    source = folders("llava")
    copy = Path(shutil.copytree(source, tmp_path / "renamed"))
    first = identity(source)
    assert first == identity(copy) == identity(source, batch=3)
    assert first["model"] == "LlavaForConditionalGeneration"
    assert (first["dtype"], first["attention"]) == ("float32", "sdpa")
    assert str(source) not in json.dumps(first)
    assert first != identity(source, dtype="bfloat16")
    assert first != identity(source, attention="eager")
    for name in ("model.safetensors", "chat_template.jinja", "generation_config.json", "config.json"):
        path, held = copy / name, (copy / name).read_bytes()
        path.write_bytes(held + b" ")
        assert identity(copy)["weights"] != first["weights"], name
        path.write_bytes(held)
    (copy / "README.md").write_text("words")
    assert identity(copy) == first
    (copy / "chat_template.jinja").unlink()
    assert identity(copy) != first


def test_weights_are_read_once(folders, tmp_path, monkeypatch):
    memory, seen = Digests(tmp_path / "memory.json"), []
    of = Digests.of
    monkeypatch.setattr(Digests, "of", lambda self, path: seen.append(path) or of(self, path))
    provider = LocalTransformers(folders("text"), digest=memory.of)
    assert provider.identity == provider.identity
    assert len(seen) == len(set(seen)) > 3


def _without(*names: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return spoil


def _setting(name: str, value: Json) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), name: value}))

    return spoil


def _cut(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def _fewer_weights(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("spoil", "error", "said"),
    [
        (_without("config.json"), ModelNotFound, "is no model folder: it holds no config.json"),
        (_without("model.safetensors"), ModelNotFound, "holds no weights"),
        (_without("chat_template.jinja"), Unusable, "has no chat template: it is a base model"),
        (_setting("model_type", "llama99"), Unusable, "does not know models of the type 'llama99'"),
        (_setting("model_type", "vit"), Unusable, "m cannot be loaded: Unrecognized configuration class"),
        (_cut, Unusable, "m cannot be loaded"),
        (_fewer_weights, Unusable, "weights of m are not whole: 1 are missing, model.layers.1.mlp.up_proj"),
    ],
)
def test_what_is_wrong_with_a_folder_is_one_sentence(folders, tmp_path, spoil, error, said):
    folder = Path(shutil.copytree(folders("text"), tmp_path / "m"))
    spoil(folder)
    with pytest.raises(error) as raised:
        asked(folder, lambda provider: provider.start())
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_model_that_is_too_large_is_refused_before_it_is_read(folders, monkeypatch):
    monkeypatch.setattr(transformers_model, "free_memory", lambda: 1000)
    with pytest.raises(Unusable, match=r"not enough memory for text .* Its weights take .* GB is free"):
        asked(folders("text"), lambda provider: provider.start())


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_named(folders):
    async def ask():
        async with LocalTransformers(folders("text"), device="cuda:3") as provider:
            await provider.start()

    with pytest.raises(Unusable, match=r"The device cuda:3 cannot be used: torch .* sees 0"):
        asyncio.run(ask())


def test_a_failed_start_can_be_tried_again(folders, tmp_path):
    folder = Path(shutil.copytree(folders("text"), tmp_path / "m"))
    held = (folder / "chat_template.jinja").read_text()

    async def ask(provider):
        (folder / "chat_template.jinja").unlink()
        with pytest.raises(Unusable):
            await provider.start()
        (folder / "chat_template.jinja").write_text(held)
        return await provider.complete(asking("x"))

    assert asked(folder, ask).text


def test_whoever_asks_first_loads_for_all_even_when_they_go(folders):
    said: list[str] = []

    async def ask(provider):
        first = asyncio.create_task(provider.complete(asking("x")))
        second = asyncio.create_task(provider.complete(asking("x")))
        await asyncio.sleep(0)
        first.cancel()
        return await asyncio.gather(first, second, return_exceptions=True)

    first, second = asked(folders("text"), ask, say=said.append)
    assert isinstance(first, asyncio.CancelledError)
    assert isinstance(second, Response)
    assert len(said) == 1


def test_a_processor_that_pads_on_the_right_costs_speed_and_no_answer(folders, monkeypatch, batches):
    inputs = transformers_batch._inputs

    def right(loaded, rows):
        read = inputs(loaded, rows)
        return {name: tensor.flip(-1) if len(rows) > 1 else tensor for name, tensor in read.items()}

    monkeypatch.setattr(transformers_batch, "_inputs", right)
    requests = [asking("word " * n) for n in (1, 5, 9)]

    async def both(provider):
        return await one_by_one(provider, requests), await together(provider, requests)

    alone, answers = asked(folders("text"), both)
    assert answers == alone
    assert batches[3:] == [3, 1, 1, 1]


def test_what_a_user_hears_and_doctor_says(folders):
    said: list[str] = []

    async def ask(provider):
        before = await provider.facts()
        await provider.start()
        return before, await provider.facts()

    before, after = asked(folders("internvl"), ask, say=said.append)
    assert said == ["Loading internvl (cpu, float32, sdpa attention)."]
    assert before == {"engine": after["engine"], "device": "cpu"}
    assert after["sees images"] is True
    assert after["context"] == 4096
    assert after["batch"] == 16
    assert 100_000 < after["weights bytes"] < after["free bytes"]
    json.dumps(after)
