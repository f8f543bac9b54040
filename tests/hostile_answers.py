"""What a hostile server may send, drawn from a seed, and what it would then bill."""

from __future__ import annotations

import json
import random
from base64 import b64encode
from dataclasses import dataclass
from typing import Any

from loopback_faults import Fault

from providers import Usage

KEY = "sk-Zq8kXv0pL42mN7"
SPELLINGS = (
    KEY,
    KEY.upper(),
    " ".join(KEY),
    "".join(f"%{ord(char):02x}" for char in KEY),
    b64encode(f"user:{KEY}".encode()).decode(),
    KEY.encode().hex(),
)
# With an error of its own these say that nothing was worked; 429 says so with anything.
NO_WORK = (400, 401, 402, 403, 404, 409, 413, 422, 425, 429, 500, 503, 529)
IN_BETWEEN = (300, 304, 307, 308, 408, 451, 499, 501, 502, 504, 520, 521, 522, 523, 524, 599)
ALL = object()  # the server bills, and does not say how much: up to the whole hold


@dataclass(frozen=True)
class Sent:
    """A fault, and what is billed for it: tokens, `ALL` that was held, or nothing."""

    fault: Fault
    billed: Usage | object | None


def hostile(rng: random.Random) -> Sent:
    """One response, of any kind."""
    kind = rng.choice(("refusal", "gateway", "completion", "completion", "broken", "junk"))
    headers = _headers(rng)
    if kind == "refusal":
        status = rng.choice(NO_WORK)
        return Sent(Fault("body", headers, text=json.dumps(_error(rng)), status=status), None)
    if kind == "gateway":
        text = rng.choice((f"<html>{_word(rng)}</html>", "", _word(rng), "{}", json.dumps(_error(rng))))
        return Sent(Fault("body", headers, text=text, status=rng.choice(IN_BETWEEN)), ALL)
    if kind == "broken":
        return Sent(Fault(rng.choice(("reset", "disconnect", "cut_off", "empty_body", "html"))), ALL)
    if kind == "junk":
        junk = rng.choice(
            ("[]", "3", "null", '{"choices": 3}', '{"choices": [{}]}', "{", "[" * 3000, "\ufeff{}")
        )
        return Sent(Fault("body", headers, text=junk), ALL)
    return _completion(rng, headers)


def _completion(rng: random.Random, headers: dict[str, str]) -> Sent:
    """An answer under any status, whole or torn, with counts that may be true."""
    used = Usage(rng.randint(1, 100), rng.randint(1, 50))  # within what was asked
    counted, true = _usage(rng, used)
    choice = {
        "message": {
            "role": "assistant",
            "content": rng.choice(("A", "", None, _word(rng), [{"type": "text"}])),
        },
        "finish_reason": rng.choice(("stop", "length", "content_filter", "error", None, 7, _word(rng))),
    }
    body = f'"model": {json.dumps(_word(rng))}, "choices": [{json.dumps(choice)}]'
    if rng.random() < 0.2:
        body += f', "error": {json.dumps(rng.choice((None, {}, _word(rng), _error(rng)["error"])))}'
    text = f"{{{body}{counted}}}"
    if rng.random() < 0.1:
        text, true = text[: rng.randint(1, len(text) - 1)], False
    status = rng.choice((200, 200, 200, 201, *NO_WORK, *IN_BETWEEN))
    # A redirect and a 304 have no body that anybody reads.
    return Sent(Fault("body", headers, text=text, status=status), used if true else ALL)


def _usage(rng: random.Random, used: Usage) -> tuple[str, bool]:
    """The counts as they are written, and whether they are there and true."""
    read, said = used.input_tokens, used.output_tokens
    whole = {"prompt_tokens": read, "completion_tokens": said, "total_tokens": read + said}
    written = json.dumps(whole)
    less = json.dumps({"prompt_tokens": 1, "completion_tokens": 1})
    twice = [written, less]
    rng.shuffle(twice)
    wrong: tuple[Any, ...] = (None, {}, [], "many", {**whole, "completion_tokens": -said})
    wrong += ({**whole, "prompt_tokens": 10**30}, {**whole, "completion_tokens": str(said)})
    return rng.choice(
        (
            (f', "usage": {written}', True),
            (f', "usage": {json.dumps({**whole, "cost": rng.choice((0, 1e-9, -1, "free"))})}', True),
            (f', "usage": {twice[0]}, "usage": {twice[1]}', True),
            (f', "usage": {json.dumps(rng.choice(wrong))}', False),
            ("", False),
        )
    )


def _error(rng: random.Random) -> dict[str, Any]:
    words = {"message": _word(rng), "code": rng.choice((None, 7, _word(rng))), "type": _word(rng)}
    return {"error": words}


def _word(rng: random.Random) -> str:
    words = ("no", "temperature is not supported", "\x1b[31m", "stop", *SPELLINGS)
    return rng.choice((*words, f"bad key: {rng.choice(SPELLINGS)}, said the server", "x" * 3000))


def _headers(rng: random.Random) -> dict[str, str]:
    said = {
        "retry-after": rng.choice(("0", "-3", "soon", "1e999", "nan")),
        "x-ratelimit-remaining-requests": rng.choice(("0", "x", "-1")),
        "x-ratelimit-reset-requests": rng.choice(("1ms", "x", "1790000000")),
        "x-echo": rng.choice(SPELLINGS),
        "location": f"/{rng.choice(SPELLINGS)}".replace(" ", "-"),
    }
    return {name: value for name, value in said.items() if rng.random() < 0.3}
