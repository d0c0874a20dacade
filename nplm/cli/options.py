"""The settings as options of a command, under headings in its help."""

from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeVar, get_args, get_origin

import click

from nplm.cli.settings import CHUNKS, CORPORA, SETTINGS, Setting, defaults, plain_type, type_hint

Function = TypeVar("Function", bound=Callable[..., Any])


class GroupedOption(click.Option):
    """An option that stands under a heading in the help."""

    def __init__(self, *args: Any, group: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.group = group


class GroupedCommand(click.Command):
    """A command whose help has its options under headings."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None:
                groups.setdefault(getattr(param, "group", "Options"), []).append(record)
        for heading, records in groups.items():
            with formatter.section(heading):
                formatter.write_dl(records)


def setting_options(*names: str, given: Mapping[str, Any] | None = None) -> Callable[[Function], Function]:
    """Decorator: the options of the settings with these flags; without names, of all.

    given: defaults for the help, by field, where a command has its own.
    """
    chosen = [s for s in SETTINGS if not names or s.flag in names]
    if not names:
        chosen.insert([s.flag for s in chosen].index("sequence-length") + 1, CHUNKS)

    def decorate(function: Function) -> Function:
        for setting in reversed(chosen):
            default = (given or {}).get(setting.field, defaults(setting.config).get(setting.field))
            text = (
                setting.help if default is None else f"{setting.help}  [default: {default:{_form(default)}}]"
            )
            both = f"/--no-{setting.flag}" if type_hint(setting) is bool else ""
            function = click.option(
                f"--{setting.flag}{both}",
                setting.field,
                cls=GroupedOption,
                group=setting.group,
                type=_click_type(setting),
                default=None,
                metavar=setting.metavar,
                help=text,
                shell_complete=_complete_corpus if setting.flag == "corpus" else None,
            )(function)
        return function

    return decorate


def _click_type(setting: Setting) -> Any:
    hint = type_hint(setting)
    return click.Choice(get_args(hint)) if get_origin(hint) is Literal else plain_type(hint)


def _form(default: Any) -> str:
    return "g" if isinstance(default, float) else ""


def _complete_corpus(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    return [name for name in CORPORA if name.startswith(incomplete)]
