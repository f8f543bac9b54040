"""Reading a judge's answer: held against the package's parser, which cannot tell zeros from no verdict."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from proactivebench.open_ended_gen import PREDICTION_THR, parse_judge_prediction

from pbclient.benchmark.open_ended import VERDICT_FIGURES, read_verdict

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
    figures, parsed = read_verdict(VALID[dataset], text, dataset)
    assert figures == parse_judge_prediction(VALID[dataset], text, dataset)
    assert parsed == (len(bits) == VALID[dataset].count(",") + 1)


@given(st.text(st.sampled_from("01, \nab</think>"), max_size=30))
def test_any_text_is_read_as_the_package_reads_it(text):
    said = text.split("</think>")[-1].strip("\n")
    assert read_verdict("a, b, c", text, "ROD")[0] == parse_judge_prediction("a, b, c", said, "ROD")


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("1, 0, 1", ((1, 1, 1), True)),
        ("0, 0, 0", ((0, 0, 0), True)),
        ("0,0,1\n", ((0, 1, 1), True)),
        ("<think>1, 1, 1</think>\n\n0, 0, 0", ((0, 0, 0), True)),
        ("a </think> 1, 1, 1 </think> 0, 1, 0", ((1, 0, 1), True)),
        ("<think>1, 1, 1", ((1, 1, 1), True)),
        ("<think>1, 1, 1</think>", ((0, 0, 0), False)),
        ("", ((0, 0, 0), False)),
        ("Yes to all.", ((0, 0, 0), False)),
        ("1, 0", ((0, 0, 0), False)),
        ("1, 0, 1, 1", ((0, 0, 0), False)),
        ("1, 0, 1\nThat is my answer, version 2.0", ((0, 0, 0), False)),
    ],
)
def test_which_part_of_an_answer_counts(text, verdict):
    figures, parsed = verdict
    assert read_verdict("a, b, c", text, "ROD") == (dict(zip(VERDICT_FIGURES, figures, strict=True)), parsed)
