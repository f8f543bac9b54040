"""The part of GBNF that verdicts need: what it accepts, as a regular expression; what it refuses, and why."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.hf.grammar import GrammarError, translate


@pytest.mark.parametrize(
    ("grammar", "accepted", "refused"),
    [
        ("root ::= [01]", ["0", "1"], ["", "2", "01", "0\n"]),
        ('root ::= [01] ("," " "? [01]){2}', ["0,1,0", "0, 1,0"], ["0,1", "0,1,0,", "0,  1,0"]),
        ('root ::= v ("," v)*  # verdicts "x"\nv ::= "yes" | "no"', ["yes", "no,yes"], ["yesno", ",no"]),
        ('root ::= "a" |\n  "b"', ["a", "b"], ["ab"]),
        ('root ::= ("ab" | "c")+ [x-z]?', ["ab", "cabz"], ["a", "xy"]),
        (r'root ::= "\"\\" "\n\t" [\]\[a]', ['"\\\n\t]', '"\\\n\t['], ['"\\\n\tb']),
        (r'root ::= "\x41\u00e9"', ["Aé"], ["A"]),
        ('root ::= "." "+"{2,3}', [".++", ".+++"], ["a++", ".+"]),
        ("root::=[a-]{1,}", ["a", "-a"], ["b"]),
    ],
)
def test_it_accepts_what_the_grammar_says(grammar, accepted, refused):
    pattern = translate(grammar)
    assert [text for text in accepted if not re.fullmatch(pattern.regex, text)] == []
    assert [text for text in refused if re.fullmatch(pattern.regex, text)] == []
    assert all(pattern.alphabet.issuperset(text) for text in accepted)


@pytest.mark.parametrize(
    ("grammar", "said"),
    [
        ("", "does not begin with a rule"),
        ("[01]", "does not begin with a rule"),
        ("answer ::= [01]", "has no rule 'root'"),
        ("root ::= answer", "has no rule 'answer'"),
        ("root ::= list\nlist ::= [01] list", "names itself"),
        ("root ::= [^a]", "negated class"),
        ("root ::= .", "cannot be read here from '.' on"),
        ('root ::= "a', "cannot be read here from '\"a' on"),
        ('root ::= ("a"', "brackets do not match"),
        ('root ::= "a")("b"', "brackets do not match"),
        ("root ::= *", "nothing to repeat"),
        ('root ::= "a"{3,2}', "min repeat greater than max repeat"),
        ('root ::= "a"{9999}', "repeats more than 1000 times"),
        ("root ::= []", "class [] is empty"),
        (r'root ::= "\d"', r"escape \d is not known"),
    ],
)
def test_what_it_cannot_read_is_said(grammar, said):
    with pytest.raises(GrammarError) as raised:
        translate(grammar)
    assert said in str(raised.value)


@given(st.text(alphabet='root:=a01[]()"|?*+{},\\^ \n#', max_size=40))
def test_no_text_breaks_it(body):
    try:
        pattern = translate(f"root ::= {body}")
    except GrammarError:
        return
    re.compile(pattern.regex)
