"""Runs for reports: episodes with whole turns, thousands of them or hostile ones."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from recorded_run import Line

OPTIONS = ["Move the blocks to the left.", "I cannot tell from this picture.", "A mug.", "A tree."]
# As many as the benchmark keeps.
SIZES = {"ROD": 88, "VSOD": 42, "MVP-N": 1_000, "IN-C": 2_500, "QD": 1_500, "CIT": 1_000, "COCO": 1_427}
WORDS = [
    "camera",
    "blocks",
    "picture",
    "behind",
    "object",
    "mug",
    "tree",
    "fish",
    "occluded",
    "further",
    "left",
    "right",
    "shows",
    "what",
]
ATTACKS = (
    "</script><script>window.pwned = 1</script>",
    "<img src=x onerror='window.pwned = 1'>",
    "<svg/onload=window.pwned=1>",
    "<!--<script>window.pwned = 1//",
    "javascript:window.pwned=1",
    "{{ 7 * 7 }} {% raw %} ${7 * 7}",
    "</style><style>body { display: none }</style>",
    "\x1b]0;title\x07\x1b[31mred",
    "left \u202eright\u2066 isolated\u200f",
    "line\u2028separator\u2029paragraph\x00nul",
    "half a pair: \ud83d and \udc4d",
    '"\'><a href="https://example.org" ping="https://example.org">click</a>',
    "<iframe srcdoc='<script>parent.pwned = 1</script>'></iframe>",
    "![picture](https://example.org/leak.png)",
)


def turn(answer: str | None, action: str, category: str, **more: Any) -> Line:
    return {
        "image": "ROD/1/0.jpg",
        "prompt": "What do the blocks hide?",
        "options": OPTIONS,
        "answer": answer,
        "action": action,
        "category": category,
        "cached": False,
        "cost": 0.0002,
        "usage": {"input_tokens": 400, "output_tokens": 7},
        "seconds": 1.25,
        "key": "0123456789abcdef" * 4,
        **more,
    }


def episode(dataset: str, sample: str, correct: bool, suggestions: int = 0, **more: Any) -> Line:
    """A resolved episode: suggestions that are taken, then the right category or another."""
    turns = [turn(OPTIONS[0], "correct", "mismatch") for _ in range(suggestions)]
    last = turn(OPTIONS[2], "mismatch", "correct") if correct else turn(OPTIONS[3], "mismatch", "wrong")
    which = {"dataset": dataset, "sample": sample, "repeat": 0, "outcome": "resolved"}
    return {**which, "correct": correct, "suggestions": suggestions, "turns": [*turns, last], **more}


def thousands(seed: str) -> Iterator[Line]:
    """7,557 episodes, no two with the same words."""
    rng = random.Random(seed)
    for dataset, size in SIZES.items():
        for sample in range(size):
            line = episode(dataset, str(sample), rng.random() < 0.5, rng.choice([0, 0, 0, 1, 1, 2]))
            for each in line["turns"]:
                each["prompt"] += " " + " ".join(rng.choices(WORDS, k=12))
                each["key"] = f"{rng.getrandbits(256):064x}"
            yield line


def hostile() -> Iterator[Line]:
    """Every text of an episode is an attack."""
    for number, attack in enumerate(ATTACKS):
        told = turn(attack, "mismatch", "mismatch", prompt=attack, options=[attack, *OPTIONS], image=attack)
        line = episode("ROD", str(number), False)
        yield {**line, "turns": [told]}
        yield {
            **line,
            "sample": attack,
            "outcome": "failed",
            "error": attack,
            "turns": [{**told, "key": attack}],
        }
    long = turn("<b>" + "x" * 1_000_000, "mismatch", "mismatch")
    yield {**episode("QD", "1", False), "turns": [long]}
