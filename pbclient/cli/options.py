"""Make the options of a command from the fields of its configuration."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import MISSING, Field
from decimal import Decimal, InvalidOperation
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from pbclient.option import GROUPS, Option, flag, kind, options

MOST_DOLLARS = 10**9  # more is a slip of the hand


class _Given(click.ParamType[Any]):
    """What is not empty: that is a variable that was never set, or the current folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            raise click.BadParameter("the value is empty: give one, or leave the option out.")
        return super().convert(value, param, ctx)


class _Text(_Given, click.types.StringParamType):
    pass


class _Folder(_Given, click.Path):
    pass


TEXT = _Text()
FOLDER = _Folder(path_type=Path)


def _dollars(context: click.Context, option: click.Parameter, text: str) -> Decimal | str | None:
    if text.lower() == "none":
        return None
    try:
        amount = Decimal(text.removeprefix("$"))
        if not 0 <= amount <= MOST_DOLLARS:
            raise InvalidOperation
    except InvalidOperation:
        if text == option.default:  # a word such as "as the run"
            return text
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
            shown = value if len(value) <= 60 else f"{value[:60]}..."
            raise click.BadParameter(
                f"{shown!r} is not JSON; text needs quotes: {name}='\"{shown}\"'."
            ) from None
    return params


def _number(context: click.Context, option: click.Parameter, text: str) -> float | str:
    if text == option.default:  # a word such as "by protocol"
        return text
    try:
        return float(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is not a number.") from None


# What click makes of a field, by the type that its annotation names.
_KINDS: dict[str, dict[str, Any]] = {
    "bool": {"is_flag": True},
    "int": {"type": int},
    "float": {"type": float},
    "float | str": {"callback": _number},
    "str": {"type": TEXT},
    "Path": {"type": FOLDER},
    "Decimal": {"callback": _dollars},
    "Decimal | str": {"callback": _dollars},
    "tuple[str, ...]": {"multiple": True},
    "Mapping[str, Json]": {"multiple": True, "callback": _params},
}


class GroupedOption(click.Option):
    """An option that stands in one of the `GROUPS` of `--help`."""

    def __init__(self, *args: Any, group: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.group = group


class ConfiguredCommand(click.Command):
    """A command with the options of a configuration, but for those `without`; `--help` shows them in groups.

    `config` is the dotted name of its class, which is imported when the command is used.
    """

    def __init__(self, *args: Any, config: str, without: Collection[str] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._config = config
        self._without = without

    @cached_property
    def _options(self) -> list[click.Parameter]:
        module, _, name = self._config.rpartition(".")
        config = getattr(import_module(module), name)
        return [_click_option(each) for each in options(config) if each.name not in self._without]

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        return [*self._options, *super().get_params(ctx)]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        records: dict[str, list[tuple[str, str]]] = {group: [] for group in (*GROUPS, "")}
        for param in self.get_params(ctx):
            if isinstance(param, click.Option) and (record := param.get_help_record(ctx)):
                records[param.group if isinstance(param, GroupedOption) else ""].append(record)
        for group, rows in records.items():
            if rows:
                with formatter.section(GROUPS.get(group, "Other options")):
                    formatter.write_dl(rows)


def _click_option(each: Field[Any]) -> GroupedOption:
    option: Option = each.metadata["option"]
    more: dict[str, Any] = dict(_KINDS[kind(each)])
    if option.rule and option.rule.choices:
        more["type"] = click.Choice(option.rule.choices)
    default = str(each.default) if isinstance(each.default, Decimal) else each.default
    if default is MISSING and each.default_factory is MISSING:
        more["required"] = True
    elif isinstance(default, str | int | float) and default is not False:
        more |= {"default": default, "show_default": True}
    if each.name in _NAMES:
        more["shell_complete"] = _complete
    return GroupedOption([flag(each), each.name], group=option.group, help=option.help, **more)


_NAMES = ("provider", "judge_provider", "datasets")


def _complete(context: click.Context, option: click.Parameter, begun: str) -> list[str]:
    """What a shell may complete a provider or a data set to."""
    from pbclient.benchmark.package import STEMS
    from providers.catalog.names import HOSTED

    here = ("baseline", "llamacpp", "transformers")
    known = STEMS if option.name == "datasets" else (*here, *(each.name for each in HOSTED))
    return [name for name in known if name.lower().startswith(begun.lower())]
