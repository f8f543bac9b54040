"""The paper's post-training reward for one answer, in the form that TRL's GRPO trainer takes.

1.0 for the right category, 0.75 for a valid suggestion, 0 for anything else (De Min et al., arXiv
2603.19466). The environment's own code judges the answer. `pbclient score --reward` is the same over a
recorded run.

    from datasets import Dataset
    from PIL import Image
    from trl import GRPOConfig, GRPOTrainer
    from pbclient.reward import proactive_reward, training_row

    # Your own samples in the benchmark's format, and never the benchmark's: it could measure nothing then.
    rows = [training_row("QD", row, lambda path: Image.open(my_folder / path)) for row in my_rows]
    trainer = GRPOTrainer(
        model="Qwen/Qwen2.5-VL-3B-Instruct",
        args=GRPOConfig(max_completion_length=32),
        reward_funcs=proactive_reward,
        train_dataset=Dataset.from_list(rows),
    )
    trainer.train()
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pbclient.benchmark.package import environment_class, evaluate, guarded, multiple_choice
from pbclient.errors import InputError

RIGHT_CATEGORY, VALID_SUGGESTION, OTHERWISE = 1.0, 0.75, 0.0

type Completion = str | Sequence[Mapping[str, Any]]


def proactive_reward(
    completions: Sequence[Completion],
    options: Sequence[Sequence[str]],
    correct_options: Sequence[Sequence[str]],
    categories: Sequence[Sequence[str]],
    answer: Sequence[str | None],
    **_: Any,
) -> list[float]:
    """One reward a completion: a reward function for `GRPOTrainer(reward_funcs=...)` (TRL 1.16).

    `completions` are texts, or conversations whose last message counts. The others are columns of
    the data set, a value a completion: `options` are the suggestions and abstentions on the screen
    and `correct_options` those that are valid now; `categories` follow them on the screen, and
    `answer` is the right one, or None where it cannot be known yet. What else the trainer passes
    (prompts, completion_ids, trainer_state, other columns) is not used.

    >>> proactive_reward(
    ...     completions=["A. Rotate it.", [{"role": "assistant", "content": "D"}], "I cannot tell."],
    ...     options=[["Rotate it.", "I cannot tell."]] * 3,
    ...     correct_options=[["Rotate it."]] * 3,
    ...     categories=[["A cup.", "A pen."]] * 3,
    ...     answer=["A pen."] * 3,
    ... )
    [0.75, 1.0, 0.0]

    Raises `InputError` for a row whose right options or answer are not among those on its screen,
    and `ValueError` for columns of unequal lengths.
    """
    rows = zip(completions, options, correct_options, categories, answer, strict=True)
    return [
        _reward(_text(completion), shown, valid, named, right)
        for completion, shown, valid, named, right in rows
    ]


def training_row(
    dataset: str, row: Mapping[str, Any], open_image: Callable[[str], Any], *, hint: bool = False
) -> dict[str, Any]:
    """The first turn of a sample as a training row: `prompt`, `image`, and the columns of the reward.

    `row` is a sample in the benchmark's format, `dataset` an acronym such as "QD"; `open_image`
    gives the picture at a path of the row (PIL), of which the environment then cuts what is shown.
    """

    def first_turn() -> dict[str, Any]:
        environment = environment_class(dataset)(entry=row, data_dir="")
        state = environment.get_state(hint=hint)
        correct, categories = environment._get_correct_options_and_categories()
        shown = state["options"][: -len(environment.categories)]
        return {
            "prompt": [{"role": "user", "content": multiple_choice(state["prompt"], state["options"])}],
            "image": state["transform"](open_image(state["image_path"])),
            "options": shown,
            "correct_options": [option for option in correct if option in shown],
            "categories": list(environment.categories),
            "answer": next(iter(categories), None),
        }

    return guarded(first_turn)


def _reward(
    text: str,
    options: Sequence[str],
    correct_options: Sequence[str],
    categories: Sequence[str],
    answer: str | None,
) -> float:
    right = [] if answer is None else [answer]
    for chosen, shown, column in ((correct_options, options, "options"), (right, categories, "categories")):
        if strangers := set(chosen) - set(shown):
            raise InputError(f"{min(strangers)!r} is to be rewarded but is not in the column {column!r}.")
    if evaluate(text, right, categories, shift=len(options))[0] == "correct":
        return RIGHT_CATEGORY
    return VALID_SUGGESTION if evaluate(text, correct_options, options)[0] == "correct" else OTHERWISE


def _text(completion: Completion) -> str:
    if isinstance(completion, str):
        return completion
    content = completion[-1]["content"] if completion else ""
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content or ())
