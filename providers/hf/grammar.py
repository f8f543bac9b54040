r"""The part of llama.cpp's grammar notation (GBNF) that verdicts need, as a regular expression.

    root ::= [01] ("," " "? [01]){2}

Literals, character classes, groups, alternatives, repetitions and rules that do not name themselves.
Left out: `.` and negated classes, whose alphabet is everything, and recursion, which is no regular language.
Notation: https://github.com/ggml-org/llama.cpp/blob/master/grammars/README.md
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

_RULE = re.compile(r"^[ \t]*([A-Za-z0-9-]+)[ \t]*::=", re.MULTILINE)
_TOKEN = re.compile(
    r"""\s*(?:
    (?P<literal>"(?:[^"\\\n]|\\.)*")
  | (?P<set>\[(?:[^\]\\\n]|\\.)*\])
  | (?P<times>\*|\+|\?|\{\d+(?:,\d*)?\})
  | (?P<mark>[()|])
  | (?P<name>[A-Za-z0-9-]+)
    )""",
    re.VERBOSE,
)
_COMMENT = re.compile(r'("(?:[^"\\\n]|\\.)*"|\[(?:[^\]\\\n]|\\.)*\])|#[^\n]*')
_CHARACTER = re.compile(r"\\x([0-9A-Fa-f]{2})|\\u([0-9A-Fa-f]{4})|\\(.)|(.)", re.DOTALL)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"} | {mark: mark for mark in '"\\[]'}
# An answer that a longer count would allow fits into no output limit.
_MOST_TIMES = 1000


class GrammarError(ValueError):
    """The grammar is none, or needs more than is read here. `str()` says what."""


@dataclass(frozen=True)
class Pattern:
    """What the grammar's `root` allows: a regular expression for whole answers, and all their characters."""

    regex: str
    alphabet: frozenset[str]


def translate(grammar: str) -> Pattern:
    """Raises `GrammarError`."""
    reader = _Reader(_rules(_COMMENT.sub(lambda found: found[1] or "", grammar)))
    regex = reader.rule("root", ())
    return Pattern(regex, frozenset(reader.alphabet))


def _rules(text: str) -> dict[str, str]:
    """The body of each rule; a rule lasts until the next one begins."""
    heads = list(_RULE.finditer(text))
    if not heads or text[: heads[0].start()].strip():
        raise GrammarError("it does not begin with a rule such as: root ::= [01]")
    ends = [head.start() for head in heads[1:]] + [len(text)]
    return {head[1]: text[head.end() : end] for head, end in zip(heads, ends, strict=True)}


@dataclass
class _Reader:
    rules: Mapping[str, str]
    alphabet: set[str] = field(default_factory=set)

    def rule(self, name: str, above: tuple[str, ...]) -> str:
        if name not in self.rules:
            raise GrammarError(f"it has no rule {name!r}")
        if name in above:
            raise GrammarError(f"its rule {name!r} names itself, which is not supported here")
        return f"(?:{self._body(self.rules[name], (*above, name))})"

    def _body(self, body: str, above: tuple[str, ...]) -> str:
        written: list[str] = []
        depth = place = 0
        while body[place:].strip():
            token = _TOKEN.match(body, place)
            if token is None:
                raise GrammarError(f"it cannot be read here from {body[place:].strip()[:20]!r} on")
            place = token.end()
            written.append(self._piece(token, above))
            depth += {"(": 1, ")": -1}.get(token["mark"] or "", 0)
            if depth < 0:
                break
        if depth:
            raise GrammarError("its brackets do not match")
        regex = "".join(written)
        try:
            re.compile(regex)
        except re.error as error:
            raise GrammarError(f"{body.strip()[:40]!r} cannot be read: {error.msg}") from None
        return regex

    def _piece(self, token: re.Match[str], above: tuple[str, ...]) -> str:
        if token["literal"] is not None:
            text = "".join(_characters(token["literal"][1:-1]))
            self.alphabet.update(text)
            return f"(?:{re.escape(text)})"
        if token["set"] is not None:
            return self._set(token["set"][1:-1])
        if token["times"] is not None:
            return _times(token["times"])
        if token["name"] is not None:
            return self.rule(token["name"], above)
        return "(?:" if token["mark"] == "(" else token["mark"]

    def _set(self, inside: str) -> str:
        if inside.startswith("^"):
            raise GrammarError("it has a negated class, which is not supported here")
        members: set[str] = set()
        characters = _characters(inside)
        while characters:
            first = characters.pop(0)
            last = first
            if len(characters) > 1 and characters[0] == "-":
                last = characters[1]
                del characters[:2]
            members.update(map(chr, range(ord(first), ord(last) + 1)))
        if not members:
            raise GrammarError(f"its class [{inside}] is empty")
        self.alphabet |= members
        return f"[{''.join(map(re.escape, sorted(members)))}]"


def _characters(text: str) -> list[str]:
    return [_character(found) for found in _CHARACTER.finditer(text)]


def _character(found: re.Match[str]) -> str:
    code, escaped, plain = found[1] or found[2], found[3], found[4]
    if code is not None:
        return chr(int(code, 16))
    if escaped is not None and escaped not in _ESCAPES:
        raise GrammarError(f"its escape \\{escaped} is not known here")
    return plain if escaped is None else _ESCAPES[escaped]


def _times(text: str) -> str:
    if any(int(number) > _MOST_TIMES for number in re.findall(r"\d+", text)):
        raise GrammarError(f"it repeats more than {_MOST_TIMES} times")
    return text
