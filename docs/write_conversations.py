"""Write docs/conversations.md from what arrives at a server; a test holds the file against it.

    uv run python docs/write_conversations.py

One sample of each data set is played under each condition of the paper. The answers are right ones, so
that episodes go on; the last request of each is written down as the server got it.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import tempfile
from decimal import Decimal
from pathlib import Path
from typing import Any

from PIL import Image

from pbclient import RunConfig, evaluate
from pbclient.data.samples import write_samples
from providers.loopback.server import LoopbackServer

PAGE = Path(__file__).with_name("conversations.md")
HEAD = """# What is sent under each condition

Written by `docs/write_conversations.py` from the requests that a server got over HTTP: the built-in samples,
one of each data set, the last request of its episode. Each message begins with its role. An image is sent as
the bytes of the file whose path is given; one that is `drawn` was cut or resized.
"""

ALL = ("ROD", "VSOD", "MVP-N", "IN-C", "QD", "CIT", "COCO")
WITH_EXAMPLES = ("ROD", "MVP-N")
CONDITIONS: tuple[tuple[str, tuple[str, ...], dict[str, Any]], ...] = (
    ("--history", ALL, {"history": True}),
    ("--history --hint --resize", ("VSOD", "COCO"), {"history": True, "hint": True, "resize": True}),
    ("--options random", ALL, {"options": "random"}),
    ("--options random --history", ("CIT", "COCO"), {"options": "random", "history": True}),
    ("--shots 1", WITH_EXAMPLES, {"shots": 1}),
    ("--shots 2 --cot --hint", WITH_EXAMPLES, {"shots": 2, "cot": True, "hint": True}),
    ("--shots 1 --history --resize", WITH_EXAMPLES, {"shots": 1, "history": True, "resize": True}),
)
TURNS = 2


def page(samples: Path, folder: Path) -> str:
    """The whole of docs/conversations.md; `folder` is for the runs."""
    parts = [HEAD]
    for number, (flags, names, options) in enumerate(CONDITIONS):
        parts.append(f"\n## {flags}\n")
        for name in names:
            asked = asyncio.run(_asked(samples, folder / f"{number}-{name}", name, options))
            said = "\n".join(_message(samples, message) for message in asked)
            parts.append(f"\n### {name}\n\n```text\n{said}\n```\n")
    return "".join(parts)


async def _asked(samples: Path, out: Path, name: str, options: dict[str, Any]) -> list[dict[str, Any]]:
    """The messages of the last request of one sample's episode."""
    requests: list[list[dict[str, Any]]] = []
    repairs = _repairs(samples)

    def answer(ask: Any) -> str:
        requests.append(ask.body["messages"])
        lettered = [line for line in ask.question.splitlines() if line[1:3] == ". "]
        return _suggestion(lettered, repairs) if len(requests) < TURNS else lettered[-1]

    async with LoopbackServer(answer) as server:
        await evaluate(
            RunConfig(
                provider="openai",
                model="glance",
                base_url=server.url,
                price="1,2",
                max_cost=Decimal(1),
                data=samples,
                datasets=(name,),
                limit=1,
                out=out,
                no_cache=True,
                **options,
            )
        )
    return requests[-1]


def _suggestion(lettered: list[str], repairs: dict[frozenset[str], str]) -> str:
    """The first one; of the repairs for a picture, the right one."""
    offered = {line[3:] for line in lettered}
    right = next((repair for options, repair in repairs.items() if options <= offered), None)
    taken = [line for line in lettered if "cannot" not in line and "do not" not in line]
    return right or taken[0]


def _repairs(samples: Path) -> dict[frozenset[str], str]:
    """The right one among the repairs that a row of IN-C offers."""
    lines = (samples / "ImageNet-C_preprocessed.jsonl").read_text(encoding="utf-8").splitlines()
    rows = map(json.loads, lines)
    return {frozenset((*row["options"], row["answer"])): row["quality_answer"] for row in rows}


def _message(samples: Path, message: dict[str, Any]) -> str:
    content = message["content"]
    parts = [content] if isinstance(content, str) else [_part(samples, part) for part in content]
    return "\n".join([f"{message['role'].upper()}:", *parts])


def _part(samples: Path, part: dict[str, Any]) -> str:
    if part["type"] == "text":
        return str(part["text"])
    data = base64.b64decode(part["image_url"]["url"].partition(",")[2])
    width, height = Image.open(io.BytesIO(data)).size
    return f"[{_file(samples, data) or 'drawn'}, {width} x {height}]"


def _file(samples: Path, data: bytes) -> str | None:
    files = (path for kind in ("jpg", "png") for path in samples.rglob(f"*.{kind}"))
    same = (path for path in files if path.stat().st_size == len(data) and path.read_bytes() == data)
    return next((str(path.relative_to(samples)) for path in same), None)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        write_samples(Path(place) / "samples")
        PAGE.write_text(page(Path(place) / "samples", Path(place)), encoding="utf-8")
