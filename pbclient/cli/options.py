"""The options that `run` and `estimate` share, and how they become a `RunConfig`."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from pbclient.config import RunConfig


MOST_DOLLARS = 10**9  # more is a slip of the hand


class _Text(click.types.StringParamType):
    """A text that is not empty: that one is a shell variable that was never set."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return super().convert(_filled(value), param, ctx)


class _Folder(click.Path):
    """A path that is not empty: that one is the current folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return super().convert(_filled(value), param, ctx)


def _filled(value: Any) -> Any:
    if value == "":
        raise click.BadParameter("the value is empty: give one, or leave the option out.")
    return value


TEXT = _Text()
FOLDER = _Folder(path_type=Path)


def dollars(context: click.Context, option: click.Parameter, text: str) -> Decimal | None:
    if text.lower() == "none":
        return None
    try:
        amount = Decimal(text.removeprefix("$"))
        if not 0 <= amount <= MOST_DOLLARS:
            raise InvalidOperation
    except InvalidOperation:
        raise click.BadParameter(f"{text!r} is no number of dollars; give one such as 25, or none.") from None
    return amount


def _params(context: click.Context, option: click.Parameter, given: tuple[str, ...]) -> dict[str, Any]:
    params: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise click.BadParameter(f"{text!r} is not of the form NAME=JSON, such as top_p=0.9.")
        try:
            params[name] = json.loads(value)
            # Python reads NaN, 1e999 and half a surrogate pair; none of them can be sent.
            json.dumps(params[name], allow_nan=False, ensure_ascii=False).encode()
        except (ValueError, RecursionError):
            said = value if len(value) <= 60 else f"{value[:60]}..."
            raise click.BadParameter(
                f"{said!r} is not JSON; text needs quotes: {name}='\"{said}\"'."
            ) from None
    return params


ENGINE_OPTIONS = (
    click.option("--llama-server", type=TEXT, help="llamacpp: a llama-server binary, or library."),
    click.option("--slots", type=int, help="llamacpp: requests worked on at once; by default what fits."),
    click.option("--ctx", type=int, help="llamacpp: tokens a slot has for prompt and answer."),
    click.option("--gpu-layers", type=int, help="llamacpp: layers on the device; by default what fits."),
    click.option(
        "--override-kv",
        "overrides",
        multiple=True,
        callback=lambda context, option, given: given or None,
        help="llamacpp: KEY=TYPE:VALUE for a key of the file; repeatable.",
    ),
    click.option("--device", type=TEXT, help="transformers: cpu, cuda, cuda:1 or mps; by default the best."),
    click.option("--dtype", type=TEXT, help="transformers: float32, bfloat16 or float16."),
    click.option("--attention", type=TEXT, help="transformers: eager or sdpa; by default by device."),
    click.option("--batch", type=int, help="transformers: most requests in one batch; by default by device."),
)

RUN_OPTIONS = (
    click.option(
        "--provider", type=TEXT, required=True, help="Who answers; `pbclient providers` lists them."
    ),
    click.option("--model", type=TEXT, help="Its name at the provider; a current vision model by default."),
    click.option("--base-url", type=TEXT, help="Any server that speaks the provider's protocol."),
    click.option(
        "--data",
        type=FOLDER,
        help="The test/ folder; by default $PBCLIENT_DATA, what was downloaded, or built-in samples.",
    ),
    click.option(
        "--dataset", "datasets", multiple=True, help="ROD, VSOD, MVP-N, IN-C, QD, CIT or COCO; repeatable."
    ),
    click.option(
        "--filter",
        type=TEXT,
        default="official",
        show_default=True,
        help="Which samples: official, none (all), or a FILE that `pbclient filter` wrote.",
    ),
    click.option(
        "--mode",
        type=click.Choice(["mcqa", "oeg"]),
        default="mcqa",
        show_default=True,
        help="Multiple choice, or open-ended answers with a judge.",
    ),
    click.option("--hint", is_flag=True, help="Add the benchmark's hint to each question."),
    click.option("--reference", is_flag=True, help="Show the unoccluded reference image only."),
    click.option("--history", is_flag=True, help="Keep the conversation so far, images included."),
    click.option(
        "--resize", is_flag=True, help="Scale frames as the package does: short edge 224, not COCO."
    ),
    click.option(
        "--shots", type=int, default=0, show_default=True, help="Examples before the question (ROD, MVP-N)."
    ),
    click.option("--cot", is_flag=True, help="Examples that reason aloud; goes with --shots."),
    click.option(
        "--options",
        type=click.Choice(["valid", "random"]),
        default="valid",
        show_default=True,
        help="Random: suggestions that belong to other data sets.",
    ),
    click.option("--judge", type=click.Choice(["none"]), help="None: record answers, and judge them later."),
    click.option("--judge-provider", type=TEXT, help="Who judges open-ended answers, as with --provider."),
    click.option("--judge-model", type=TEXT, help="The judge's name at its provider."),
    click.option("--judge-base-url", type=TEXT, help="Any server that speaks the judge's protocol."),
    click.option("--judge-max-tokens", type=int, help="Output limit of the judge; by default what suits it."),
    click.option("--judge-price", type=TEXT, help="IN,OUT as with --price, for the judge."),
    click.option(
        "--judge-grammar",
        is_flag=True,
        help="Let a judge on this machine write nothing but a verdict: it always parses.",
    ),
    click.option("--mmproj", type=FOLDER, help="llamacpp: the projector file that gives the model eyes."),
    *ENGINE_OPTIONS,
    click.option(
        "--limit", type=int, help="Samples per data set; all by default, in oeg the benchmark's 100."
    ),
    click.option("--seed", type=int, default=0, show_default=True, help="Seed of the order of episodes."),
    click.option(
        "--repeat", type=int, default=1, show_default=True, help="How often each episode is played."
    ),
    click.option("--max-tokens", type=int, help="Output limit of a call; by default what suits the model."),
    click.option(
        "--temperature",
        type=float,
        default=0.0,
        show_default=True,
        help="Dropped where the model rejects it.",
    ),
    click.option(
        "--param", "params", multiple=True, callback=_params, help="NAME=JSON, sent as it is; repeatable."
    ),
    click.option(
        "--max-cost",
        default="5",
        show_default=True,
        callback=dollars,
        help="Dollars that the whole run may cost, or none.",
    ),
    click.option(
        "--price", type=TEXT, help="IN,OUT in dollars per million tokens, for a model of unknown price."
    ),
    click.option(
        "--image-tokens",
        type=int,
        help="Most tokens that one image is billed for; by default the provider's published rule.",
    ),
    click.option(
        "--wire",
        type=click.Choice(["litellm", "direct"]),
        default="litellm",
        show_default=True,
        help="Direct: without LiteLLM, at a small part of its processor time.",
    ),
    click.option("--concurrency", type=int, default=64, show_default=True, help="Most calls at once."),
    click.option("--rpm", type=int, help="Most requests a minute."),
    click.option("--tpm", type=int, help="Most tokens a minute."),
    click.option("--timeout", type=float, default=300.0, show_default=True, help="Seconds for one attempt."),
    click.option(
        "--cache-dir", type=FOLDER, help="Where answers are kept; by default the user's cache folder."
    ),
    click.option("--no-cache", is_flag=True, help="Share no answers with other runs."),
    click.option("--offline", is_flag=True, help="Ask nobody: a miss is an error that names what differs."),
    click.option("--out", type=FOLDER, help="The run folder, new or to be continued; else under ./results/."),
)


def run_options[F: Callable[..., Any]](command: F) -> F:
    """Give a command all the options of a run."""
    return _given(command, RUN_OPTIONS)


def engine_options[F: Callable[..., Any]](command: F) -> F:
    """Give a command the options of engines on this machine."""
    return _given(command, ENGINE_OPTIONS)


def _given[F: Callable[..., Any]](command: F, options: Sequence[Callable[[F], F]]) -> F:
    for option in reversed(options):
        command = option(command)
    return command


def config_from(options: dict[str, Any]) -> RunConfig:
    """The configuration that the options say. Raises `InputError`."""
    from pbclient.config import RunConfig

    return RunConfig(**{**options, "datasets": tuple(options["datasets"])})
