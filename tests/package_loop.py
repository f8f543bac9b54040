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
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image
from proactivebench.environment import get_environment

from pbclient.benchmark import DATA_SETS, data_code

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
