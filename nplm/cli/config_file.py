"""The config file: settings in TOML, by the names of their flags or of their fields."""

from pathlib import Path
from typing import Any

from nplm.cli.errors import suggestion
from nplm.cli.settings import CHUNKS, SETTINGS, WORDS, Setting, TextConfig, plain_type, type_hint
from nplm.config import ModelConfig, TrainConfig
from nplm.errors import InputError


def read_config_file(path: str) -> dict[str, Any]:
    """The settings in a TOML file by field.  Raises InputError on bad TOML or an unknown name."""
    import tomllib

    try:
        with Path(path).open("rb") as file:
            document = tomllib.load(file)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path") from None
    except ValueError as error:  # bad TOML, or not UTF-8
        raise InputError(f"{path}: not valid TOML ({error})") from None
    found: dict[str, Any] = {}
    for name, value in document.items():
        table = {"model": ModelConfig, "train": TrainConfig, "text": TextConfig}.get(name)
        entries = value if isinstance(value, dict) and table else {name: value}
        for key, entry in entries.items():
            where = f"{path}, [{name}]" if entries is value else path
            setting = _named(key, table if entries is value else None, where)
            if setting.field in found:
                raise InputError(f"{where}: {setting.flag} is given twice; keep one")
            found[setting.field] = _as_declared(entry, setting, where)
    return found


def _named(key: str, table: type | None, where: str) -> Setting:
    """The setting with this flag or field name, in this table or anywhere."""
    known: dict[str, Setting] = {}
    for setting in (*SETTINGS, CHUNKS):
        if table in (None, setting.config):
            spellings = (setting.flag, setting.flag.replace("-", "_"), setting.field)
            known |= {spelling: setting for spelling in spellings}
    if key not in known:
        close = suggestion(key, known, otherwise="nplm train --help has them all")
        raise InputError(f"{where}: no setting is called {key!r}; {close}")
    return known[key]


def _as_declared(value: Any, setting: Setting, where: str) -> Any:
    """A value of the file; 20 is as good as 20.0 where a real number is asked for."""
    kind = plain_type(type_hint(setting))
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or isinstance(value, bool) != (kind is bool):
        raise InputError(f"{where}: {setting.flag} = {value!r} is not {WORDS[kind]}")
    return value
