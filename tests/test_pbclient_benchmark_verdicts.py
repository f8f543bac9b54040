"""Reading a judge's answer: held against the package's parser, which cannot tell zeros from no verdict."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from proactivebench.open_ended_gen import PREDICTION_THR, parse_judge_prediction

from pbclient.benchmark.open_ended import VerdictFigures, read_verdict

VALID = {
    name: ", ".join(f"answer {number}" for number in range(2 + few)) for name, few in PREDICTION_THR.items()
}


@given(
    st.sampled_from(sorted(PREDICTION_THR)),
    st.lists(st.sampled_from("01"), min_size=1, max_size=6),
    st.sampled_from([",", ", ", " ,"]),
)
def test_a_list_as_long_as_the_answers_is_a_verdict_and_no_other_is(dataset, bits, comma):
    text = f"Step by step.\n{comma.join(bits)}"
    read = read_verdict("shown", VALID[dataset], text, dataset)
    assert read.figures() == parse_judge_prediction(VALID[dataset], text, dataset)
    assert read.parsed == (len(bits) == VALID[dataset].count(",") + 1)


@given(st.text(st.sampled_from("01, \nab</think>"), max_size=30))
def test_any_text_is_read_as_the_package_reads_it(text):
    said = text.split("</think>")[-1].strip("\n")
    assert read_verdict("shown", "a, b, c", text, "ROD").figures() == parse_judge_prediction(
        "a, b, c", said, "ROD"
    )


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("1, 0, 1", VerdictFigures(1, 1, 1, parsed=True)),
        ("0, 0, 0", VerdictFigures(0, 0, 0, parsed=True)),
        ("0,0,1\n", VerdictFigures(0, 1, 1, parsed=True)),
        ("<think>1, 1, 1</think>\n\n0, 0, 0", VerdictFigures(0, 0, 0, parsed=True)),
        ("a </think> 1, 1, 1 </think> 0, 1, 0", VerdictFigures(1, 0, 1, parsed=True)),
        ("<think>1, 1, 1", VerdictFigures(1, 1, 1, parsed=True)),
        ("<think>1, 1, 1</think>", VerdictFigures(0, 0, 0, parsed=False)),
        ("", VerdictFigures(0, 0, 0, parsed=False)),
        ("Yes to all.", VerdictFigures(0, 0, 0, parsed=False)),
        ("1, 0", VerdictFigures(0, 0, 0, parsed=False)),
        ("1, 0, 1, 1", VerdictFigures(0, 0, 0, parsed=False)),
        ("1, 0, 1\nThat is my answer, version 2.0", VerdictFigures(0, 0, 0, parsed=False)),
    ],
)
def test_which_part_of_an_answer_counts(text, verdict):
    assert read_verdict("a, b, c", "a, b, c", text, "ROD") == verdict


def test_the_second_list_is_what_an_answer_is_read_with():
    assert not read_verdict("Wait, Rewind, A cup", "Wait, Rewind, Rewind, A cup", "1, 0, 1", "CIT").parsed
    assert read_verdict("Wait, Rewind, A cup", "Wait, Rewind, Rewind, A cup", "1, 0, 1, 0", "CIT").parsed
