"""The settings as options of a command and as entries of a config file, and their order of precedence.

A flag overrides the config file, the file overrides the settings of a resumed run, and those override the defaults.
click applies this order, with the run and the file as its `default_map`, and knows where each value comes from.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import click
from click.core import ParameterSource

from nplm.cli.errors import suggestion, with_flags
from nplm.config import CONFIGS, HEADINGS
from nplm.config.setting import KINDS, Setting, settings, shown
from nplm.errors import InputError

Function = TypeVar("Function", bound=Callable[..., Any])

TEXT, MODEL, TRAIN = map(settings, CONFIGS)
MODEL = [setting for setting in MODEL if setting.name != "vocab_size"]  # which follows from the text
AT = [setting.name for setting in TRAIN].index("sequence_length")
CHUNKS = TRAIN[AT]._replace(
    name="chunks",
    default=None,
    flag="chunks",
    help="Chunks per sequence, at least 2 without `baseline`; sets S = N*T.",
    metavar="N",
    interval=TRAIN[AT].interval.replace("[2", "[1"),
)
TRAIN.insert(AT + 1, CHUNKS)
TABLES = {"text": TEXT, "model": MODEL, "train": TRAIN}  # of a config file
SETTINGS = sorted([*TEXT, *TRAIN, *MODEL], key=lambda setting: HEADINGS.index(setting.heading))
RESUMED = "nplm.resumed"  # where a context keeps the names of the settings that the resumed run gives
SOURCES = ("default", "resumed", "config file", "flag")  # each overrides those before it


class Value(NamedTuple):
    """A setting's value and where it comes from."""

    value: Any
    source: str


class GroupedOption(click.Option):
    """An option that is listed under a heading in the help."""

    def __init__(self, *args: Any, group: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.group = group


class GroupedCommand(click.Command):
    """A command whose help lists its options under headings."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None:
                groups.setdefault(getattr(param, "group", "Options"), []).append(record)
        for heading, records in groups.items():
            with formatter.section(heading):
                formatter.write_dl(records)


class Choice(click.Choice):  # type: ignore[type-arg]  # generic since click 8.2 only
    """A choice whose error message suggests a similar value."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value not in self.choices:
            self.fail(f"{value!r} is unknown; {suggestion(value, self.choices)}", param, ctx)
        return value


def setting_options(*names: str, preset: Mapping[str, Any] | None = None) -> Callable[[Function], Function]:
    """Decorator that adds the options of the settings with these names, or of all settings.

    preset: the command's own defaults, by name.
    """

    def decorate(function: Function) -> Function:
        for setting in reversed([s for s in SETTINGS if not names or s.name in names]):
            default = (preset or {}).get(setting.name, setting.default)
            note = "" if default is None else f"  [default: {shown(default)}]"
            function = click.option(
                f"--{setting.flag}" + (f"/--no-{setting.flag}" if setting.kind is bool else ""),
                setting.name,
                cls=GroupedOption,
                group=setting.heading,
                type=Choice(setting.choices) if setting.choices else setting.kind,
                default=default,
                multiple=setting.many,
                metavar=setting.metavar or None,
                help=with_flags(setting.help) + note,
            )(function)
        return function

    return decorate


def read_config_file(path: str) -> dict[str, Any]:
    """The settings in a TOML file by name.  Raises InputError on bad TOML, an unknown setting or a bad value."""
    import tomllib

    try:
        document = tomllib.loads(Path(path).read_bytes().decode("utf-8-sig").replace("\r\n", "\n"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path") from None
    except (ValueError, RecursionError) as error:  # bad TOML, nested too deeply, or not UTF-8
        raise InputError(f"{path}: not valid TOML ({error})") from None
    found: dict[str, Any] = {}
    for name, content in document.items():
        is_table = name in TABLES and isinstance(content, dict)
        known = {
            spelling: setting
            for setting in (TABLES[name] if is_table else SETTINGS)
            for spelling in (setting.flag, setting.flag.replace("-", "_"), setting.name)
        }
        where = f"{path}, [{name}]" if is_table else path
        for key, value in (content if is_table else {name: content}).items():
            if key not in known:
                close = suggestion(key, known, otherwise="nplm train --help lists all of them")
                raise InputError(f"{where}: no setting is called {key!r}; {close}")
            setting = known[key]
            if setting.name in found:
                raise InputError(f"{where}: {setting.flag} is given twice; keep one")
            try:
                setting.check(value)
            except InputError as error:
                raise InputError(f"{where}: {str(error).replace(f'`{setting.name}`', setting.flag)}") from None
            found[setting.name] = as_list(setting, value)
    return found


def as_list(setting: Setting, value: Any) -> Any:
    """A single value of a setting that takes several, in a list; any other value unchanged."""
    return [value] if setting.many and isinstance(value, str) else value


def values(preset: Mapping[str, Any] | None = None) -> dict[str, Value]:
    """The value and the source of every setting, by name, for the command that is running.

    preset: the command's own defaults, by name.
    """
    ctx = click.get_current_context()
    found = {s.name: Value((preset or {}).get(s.name, s.default), "default") for s in SETTINGS}
    for name in found.keys() & ctx.params.keys():
        source = ctx.get_parameter_source(name)
        if source is ParameterSource.COMMANDLINE:
            found[name] = Value(ctx.params[name], "flag")
        elif source is ParameterSource.DEFAULT_MAP:
            found[name] = Value(ctx.params[name], "resumed" if name in ctx.meta.get(RESUMED, ()) else "config file")
    return _settle_chunks(_settle_shuffle(found))


def build(config: type, found: Mapping[str, Value], **more: Any) -> Any:
    """The dataclass `config` with the values found."""
    given = {s.name: found[s.name].value for s in settings(config) if s.name in found}
    return config(**given, **more)


def _settle_shuffle(found: dict[str, Value]) -> dict[str, Value]:
    """With shuffled lines every sentence begins with the zero state."""
    shuffle, reset = found["shuffle"], found["reset_at_eos"]
    if not shuffle.value or reset.value:
        return found
    if SOURCES.index(reset.source) >= max(SOURCES.index(shuffle.source), 1):
        raise InputError("`shuffle` sets `reset_at_eos`, which is switched off: leave out one of the two")
    return found | {"reset_at_eos": Value(True, shuffle.source)}


def _settle_chunks(found: dict[str, Value]) -> dict[str, Value]:
    """Replace the number of chunks N by S = N*T or, where S is given with the same priority, by T = ceil(S/N)."""
    chunks, length, bptt = found.pop("chunks"), found["sequence_length"], found["bptt"]
    rank = SOURCES.index(chunks.source)
    if chunks.value is None or SOURCES.index(length.source) > rank:
        return found
    if chunks.value < 2 and not (chunks.value == 1 and found["baseline"].value):
        raise InputError(
            f"`chunks` = {chunks.value}: the method needs N >= 2 chunks per sequence; N = 1 is a `baseline`"
        )
    if SOURCES.index(length.source) < rank:
        length = Value(chunks.value * bptt.value, chunks.source)
    elif SOURCES.index(bptt.source) < rank:
        bptt = Value(-(-length.value // chunks.value), chunks.source)
    steps, chunk = length.value, bptt.value
    if chunk >= 1 and -(-steps // chunk) != chunks.value:
        raise InputError(
            f"a sequence of {steps} steps in chunks of {chunk} has {-(-steps // chunk)} chunks, not {chunks.value}:"
            " make `sequence_length`, `chunks` and `bptt` agree, or leave one out"
        )
    return found | {"sequence_length": length, "bptt": bptt}


def table() -> str:
    """The settings in Markdown: docs/howto/settings.md."""
    lines = []
    for heading in HEADINGS:
        lines += [f"\n## {heading}\n", "| flag | field | value | default | meaning |", "|---|---|---|---|---|"]
        for s in SETTINGS:
            if s.heading == heading:
                value = s.interval or ", ".join(s.choices) or ("texts" if s.many else KINDS[s.kind])
                meaning = s.help.replace("<unk>", "`<unk>`").replace("</s>", "`</s>`")
                flag, default = f"--{s.flag} {s.metavar}".rstrip(), "" if s.default is None else shown(s.default)
                lines.append(f"| `{flag}` | `{s.name}` | {value} | {default} | {meaning} |")
    return "\n".join(lines)
