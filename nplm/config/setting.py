"""How a setting is declared: once, as a field of a dataclass, by `setting`.

The declaration has the setting's default, meaning, unit, range, heading and flag.  Its validation, its option on the
command line, its entry in a config file and its row in docs/howto/settings.md follow from it.
"""

from dataclasses import MISSING, field, fields
from typing import Any, NamedTuple, get_args, get_origin

from nplm.errors import InputError

KINDS = {int: "a whole number", float: "a number", str: "a string", bool: "true or false"}


def setting(default: Any, help: str, metavar: str = "", interval: str = "", *, heading: str, flag: str = "") -> Any:
    """Return a dataclass field that declares a setting.

    Parameters
    ----------
    default : the default value, or MISSING for a field that must be given.
    help : the meaning; other settings are named in backticks.
    metavar : symbol or unit of the value, such as T or EPOCHS.
    interval : range of a number, such as "[1, 2^20]" or "(0, inf)".
    heading : the heading above the option in the command's help.
    flag : name on the command line, if it is not the name of the field with hyphens.
    """
    declared = {"heading": heading, "help": help, "metavar": metavar, "interval": interval, "flag": flag}
    return field(default=default, metadata=declared)


class Setting(NamedTuple):
    """The declaration of a setting."""

    name: str  # of the field
    kind: Any  # the type int, float, str or bool
    choices: tuple[str, ...]  # all values that a str may have; empty: any
    default: Any
    flag: str  # without leading hyphens; also the name in a config file
    heading: str
    help: str
    metavar: str
    interval: str
    many: bool = False  # whether it has several values; a single value may be given without a list

    def check(self, value: Any) -> None:
        """Raise InputError unless `value` has the declared type and is in the declared range."""
        if value is None and self.default is None:
            return
        if self.many and isinstance(value, (list, tuple)):
            for one in value:
                self._replace(many=False, default=MISSING).check(one)
            return
        allowed = (int, float) if self.kind is float else self.kind  # 20 is accepted for 20.0
        if not isinstance(value, allowed) or isinstance(value, bool) != (self.kind is bool):
            raise InputError(f"`{self.name}` = {value!r} is not {KINDS[self.kind]}")
        if isinstance(value, int) and abs(value) >= 2**64:  # more than any setting, or a float, can hold
            raise InputError(f"`{self.name}` is a number of more than 19 digits: lower it")
        if self.choices and value not in self.choices:
            raise InputError(f"`{self.name}` = {value!r} is not one of {', '.join(self.choices)}")
        if self.interval and not _inside(value, self.interval):
            raise InputError(f"`{self.name}` = {shown(value)} is outside {self.interval}")


def settings(config: type) -> list[Setting]:
    """The settings that a dataclass declares, in its order."""
    found = []
    for declared in fields(config):
        hint: Any = declared.type
        if type(None) in get_args(hint):  # "str | None"
            hint = get_args(hint)[0]
        many = get_origin(hint) is tuple
        hint = get_args(hint)[0] if many else hint
        choices = get_args(hint)  # of a Literal
        metadata = dict(declared.metadata)
        flag = metadata.pop("flag") or declared.name.replace("_", "-")
        kind = str if choices else hint
        found.append(Setting(declared.name, kind, choices, declared.default, flag, **metadata, many=many))
    return found


def check_settings(config: Any) -> None:
    """Raise InputError unless the value of every field of a dataclass instance is allowed by its declaration."""
    for declared in settings(type(config)):
        declared.check(getattr(config, declared.name))


def shown(value: Any) -> str:
    """A setting's value as text."""
    if isinstance(value, (list, tuple)):
        return ", ".join(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _inside(value: float, interval: str) -> bool:
    """Whether a number lies in an interval: "[" and "]" include the bound, "(" and ")" exclude it."""
    low, high = map(_number, interval[1:-1].split(", "))
    at_bound = (value == low and interval[0] == "[") or (value == high and interval[-1] == "]")
    return low < value < high or at_bound


def _number(text: str) -> float:
    """The value of a bound: "20", "inf" or "2^20"."""
    base, _, power = text.partition("^")
    return float(base) ** int(power or 1)
