"""The package's own sequential loop over a data folder, with a policy instead of a model.

What the client is held against: the installed environment classes, the installed template and
filter (executed from the installed source, which cannot be imported without torch), one sample
after the other.
"""

from __future__ import annotations

import ast
import hashlib
import io
import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image
from proactivebench.environment import get_environment

from pbclient.benchmark.package import DATA_SETS, data_code

type Policy = Callable[[str, Image.Image], str]


def _installed() -> dict[str, Any]:
    """FILTER and the option template as they stand in the installed file."""
    wanted = [
        node
        for node in ast.parse(data_code()).body
        if (isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "FILTER")
        or (isinstance(node, ast.FunctionDef) and node.name == "apply_multi_choice_template")
    ]
    scope: dict[str, Any] = {}
    exec(compile(ast.Module(wanted, []), "data_utils", "exec"), scope)
    return scope


INSTALLED = _installed()


def package_loop(
    folder: Path, policy: Policy, *, hint: bool = False, reference: bool = False
) -> dict[tuple[str, str], dict[str, Any]]:
    """The package's statistics of every kept sample, by (acronym, id)."""
    ends = {}
    for dataset in DATA_SETS:
        path = folder / dataset.file_name
        if not path.exists():
            continue
        for line in path.read_text(encoding="utf-8").splitlines():
            entry = json.loads(line)
            if (
                entry.get("strong_occlusions") is False
                or entry["id"] not in INSTALLED["FILTER"][dataset.stem]
            ):
                continue
            ends[dataset.acronym, str(entry["id"])] = _episode(
                folder, dataset.stem, entry, policy, hint, reference
            )
    return ends


def _episode(folder, stem, entry, policy, hint, reference) -> dict[str, Any]:
    env = get_environment(stem)(entry=entry, data_dir=str(folder), reference=reference)
    while not env.stop:
        state = env.get_state(hint=hint)
        prompt = INSTALLED["apply_multi_choice_template"](
            state["prompt"], state["options"], short_answer=True
        )
        picture = state["transform"](Image.open(state["image_path"]).convert("RGB"))
        env.evaluate_generated_answer(policy(prompt, picture))
    return env.get_statistics()


def by_looks(prompt: str, picture: Image.Image) -> str:
    """A pure function of the prompt and the pixels that speaks in every form models do."""
    seen = hashlib.sha256(prompt.encode() + repr(picture.size).encode() + picture.tobytes()).digest()
    options = re.findall(r"^([A-Z])\. (.+)$", prompt, flags=re.MULTILINE)
    letter, text = options[seen[0] % len(options)]
    forms = [letter, f"{letter}.", f"{letter}. {text}", text, text.upper(), f"  {text} ", f"{letter}) {text}"]
    return [*forms, f"I think it is {text}"][seen[1] % 8]


def ask_by_looks(ask) -> str:
    """The same policy behind a model server: it sees what arrives."""
    (_, data), *more = ask.images
    assert not more
    return by_looks(ask.question, Image.open(io.BytesIO(data)).convert("RGB"))


# The conditions of the paper: the conversation that the package's means make, put together by hand.

type Said = tuple[str, str, Image.Image | None]
type Talk = Callable[[list[Said], Any], str]


def package_conditions(
    folder: Path,
    talk: Talk,
    *,
    datasets: tuple[str, ...] = (),
    seed: int = 0,
    hint: bool = False,
    resize: bool = False,
    history: bool = False,
    shots: int = 0,
    cot: bool = False,
    options: str = "valid",
) -> dict[tuple[str, str], dict[str, Any]]:
    """The package's statistics of every kept sample; `talk` answers a whole conversation.

    What is drawn is drawn as `pbclient` documents it: Python's generator, seeded with a text for each place.
    """
    entries = {each.acronym: _kept_entries(folder, each) for each in DATA_SETS}
    ends = {}
    for dataset in DATA_SETS:
        name = dataset.acronym
        for entry in entries[name] if not datasets or name in datasets else ():
            past: list[Said] = []
            others = [each for each in entries[name] if each["id"] != entry["id"]]
            for other in random.Random(f"{seed}/{name}/{entry['id']}/examples").sample(others, shots):
                example = get_environment(dataset.stem)(other, str(folder), resize_samples=resize)
                random.seed(f"{seed}/{name}/{entry['id']}/example/{other['id']}")
                for step in example.get_icl_example(hint=hint, cot=cot, resize=resize):
                    past += [_question(step, short=not cot), ("assistant", step["generated_answer"], None)]
            row = entry if options == "valid" else _with_foreign_options(name, entry, entries, seed)
            env = get_environment(dataset.stem)(
                row, str(folder), resize_samples=resize, random=options == "random"
            )
            while not env.stop:
                question = _question(env.get_state(hint=hint), short=not cot)
                answer = talk([*past, question], env)
                random.seed(f"{seed}/{name}/{entry['id']}/0/{env.num_turns}")
                env.evaluate_generated_answer(answer)
                if history:
                    past = [*past, question, ("assistant", answer, None)]
            ends[name, str(entry["id"])] = env.get_statistics()
    return ends


def _kept_entries(folder: Path, dataset) -> list[dict[str, Any]]:
    path = folder / dataset.file_name
    rows = map(json.loads, path.read_text(encoding="utf-8").splitlines() if path.exists() else ())
    kept = INSTALLED["FILTER"][dataset.stem]
    return [row for row in rows if row.get("strong_occlusions") is not False and row["id"] in kept]


def _question(state, *, short: bool) -> Said:
    prompt = INSTALLED["apply_multi_choice_template"](state["prompt"], state["options"], short_answer=short)
    return "user", prompt, state["transform"](Image.open(state["image_path"]).convert("RGB"))


def _with_foreign_options(name, entry, entries, seed) -> dict[str, Any]:
    """Suggestions of the other data sets, but for those with a word for an action of this one."""

    def suggestions(rows) -> set[str]:
        texts = {text for row in rows for text in row["options"]}
        return {text for text in texts if "cannot" not in text.lower() and "do not" not in text.lower()}

    own = suggestions(entries[name])
    table = get_environment("QuickDraw")(entries["QD"][0], "").action_map
    words = [word for word in table if any(word in text.lower() for text in own)]
    others = set.union(*(suggestions(rows) for other, rows in entries.items() if other != name)) - own
    pool = sorted(text for text in others if not any(word in text.lower() for word in words))
    places = [at for at, text in enumerate(entry["options"]) if text in own]
    drawn = random.Random(f"{seed}/{name}/{entry['id']}/options").sample(pool, len(places))
    options = list(entry["options"])
    for at, text in zip(places, drawn, strict=True):
        options[at] = text
    return {**entry, "options": options}


def by_conversation(conversation: list[Said], env: Any = None) -> str:
    """A pure function of all that was said and shown, which mostly asks for help."""
    digest = hashlib.sha256()
    for role, text, picture in conversation:
        shown = b"" if picture is None else repr(picture.size).encode() + picture.tobytes()
        digest.update(role.encode() + text.encode() + shown)
    seen = digest.digest()
    options = re.findall(r"^([A-Z])\. (.+)$", conversation[-1][1], flags=re.MULTILINE)
    options = options[: max(1, len(options) // 2)] if seen[0] % 4 else options
    letter, text = options[seen[1] % len(options)]
    return [letter, f"{letter}. {text}", text, f"I say: {letter}. {text}"][seen[2] % 4]


def heard(ask) -> list[Said]:
    """The conversation as it arrived: roles, texts, and pictures as one sees them."""
    pictures = iter(ask.images)
    said: list[Said] = []
    for message in ask.body["messages"]:
        content = message["content"]
        if isinstance(content, str):
            said.append((message["role"], content, None))
            continue
        *images, text = content
        assert text["type"] == "text"
        assert [each["type"] for each in images] in ([], ["image_url"], ["image"])
        data = next(pictures)[1] if images else None
        picture = Image.open(io.BytesIO(data)).convert("RGB") if data else None
        said.append((message["role"], text["text"], picture))
    return said


def talk_by_conversation(ask) -> str:
    """The same policy behind a model server."""
    return by_conversation(heard(ask))
