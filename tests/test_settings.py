"""Settings: declared once.  Oracle: the dataclasses themselves, with and without a field that a test adds."""

import ast
import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import get_args

import click
import pytest

import nplm
from nplm import config
from nplm.cli import errors, settings
from nplm.config import CONFIGS, InputError, ModelConfig, Setting, TrainConfig, setting
from nplm.layers import objective

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "howto" / "settings.md"


@dataclass(frozen=True)
class Extended(TrainConfig):
    """The settings of training and one more."""

    warp: float = setting(1.5, "warp-factor", "W", "How fast, in c.", group="Run", above=1.0, most=9.0)


@pytest.fixture
def extended(monkeypatch):
    """The package as it would be with that field in its dataclass."""
    configs = tuple(Extended if kind is TrainConfig else kind for kind in CONFIGS)
    for module in (config, settings, errors):
        monkeypatch.setattr(module, "CONFIGS", configs)


def help_of_train():
    """The help of a command with all settings, on one line."""
    command = click.command("train", cls=settings.SettingsCommand)(settings.setting_options()(lambda **values: None))
    with command.make_context("train", []) as ctx:
        return " ".join(command.get_help(ctx).split())


def test_a_setting_that_is_added_is_in_help_and_table(extended):
    """One declaration gives the option with its default, the row, the check, and the flag in messages."""
    assert "--warp-factor W How fast, in c. [default: 1.5]" in help_of_train()
    row = "| `--warp-factor` | `Extended.warp` | more than 1 and at most 9 | 1.5 | How fast, in c. |"
    assert row in settings.table().splitlines()
    with pytest.raises(InputError, match="`warp` = 10 is out of range: it must be more than 1 and at most 9") as caught:
        Extended(warp=10)
    assert errors.with_flags(str(caught.value)).startswith("--warp-factor = 10 is out of range")


def test_without_it_nothing_knows_it():
    """The same places."""
    assert "--warp-factor" not in help_of_train() + settings.table()
    assert errors.with_flags("`warp` = 10") == "`warp` = 10"


def test_every_field_is_declared():
    """The dataclasses: each field but vocab_size has a flag, and its default is in the help of that flag."""
    by_field = {option.field: option for option in settings.options()}
    command = click.command("train", cls=settings.SettingsCommand)(settings.setting_options()(lambda **values: None))
    with command.make_context("train", []) as ctx:
        records = {param.name: param.get_help_record(ctx) for param in command.params}
    for kind in CONFIGS:
        for field in fields(kind):
            assert isinstance(field.metadata["setting"], Setting) and field.metadata["setting"].help.endswith(".")
            if field.name == "vocab_size":
                continue
            spelling, text = records[field.name]
            assert spelling.startswith(f"--{by_field[field.name].flag}")
            default = f"{field.default:g}" if isinstance(field.default, float) else field.default
            assert field.default is None or text.endswith(f"[default: {default}]")


def test_the_page_is_the_table():
    """docs/howto/settings.md ends with what `table` gives."""
    text = PAGE.read_text(encoding="utf-8")
    assert text[text.index("| flag") :].strip() == settings.table().strip()


def test_messages_of_the_library_name_fields():
    """The strings of the package outside cli/: none speaks of a flag, but for files' own formats and the docstrings."""
    found = []
    for path in sorted((ROOT / "nplm").rglob("*.py")):
        if "cli" in path.parts or path.name == "config.py":  # config.py declares the words of the help
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Raise):
                words = [part.value for part in ast.walk(node) if isinstance(part, ast.Constant)]
                found += [(path.name, word) for word in words if isinstance(word, str) and re.search(r"--[a-z]", word)]
    assert found == []


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (TrainConfig, {"bptt": 0}, "`bptt` = 0 is outside [1, 1048576]"),
        (TrainConfig, {"bptt": 2.5}, "`bptt` = 2.5 is not a whole number"),
        (TrainConfig, {"bptt": True}, "`bptt` = True is not a whole number"),
        (TrainConfig, {"lr": "1"}, "`lr` = '1' is not a number"),
        (TrainConfig, {"lr": float("nan")}, "`lr` = nan is not a finite number"),
        (TrainConfig, {"lr": float("inf")}, "`lr` = inf is not a finite number"),
        (TrainConfig, {"dropout": 1.0}, "`dropout` = 1 is out of range: it must be at least 0 and less than 1"),
        (TrainConfig, {"noise": "stale"}, "`noise` = 'stale' is not one of fresh, pool"),
        (TrainConfig, {"variational": 1}, "`variational` = 1 is not true or false"),
        (ModelConfig, {"vocab_size": 1}, "`vocab_size` = 1 is outside [2, 2147483647]"),
        (ModelConfig, {"vocab_size": 9, "noise_uniform": 1.5}, "`noise_uniform` = 1.5 is out of range"),
        (config.TextConfig, {"train": 3}, "`train` = 3 is not a text"),
    ],
)
def test_values_outside_the_declaration(kind, values, message):
    """The declarations, by hand."""
    with pytest.raises(InputError, match=re.escape(message)):
        kind(**values)


def test_values_at_the_edges():
    """inf where it is declared, the ends of closed ranges, whole numbers for real ones."""
    assert TrainConfig(clip=float("inf"), save_interval=float("inf"), lr=20, lr_floor=1.0, seed=2**63 - 1).lr == 20
    assert nplm.ModelConfig(2, noise_uniform=1).noise_uniform == 1


def test_the_objectives_that_may_be_chosen_are_those_there_are():
    """layers/objective.py: its names, in their order; another one is refused."""
    assert get_args(config.Objective) == objective.NAMES
    assert [objective.make_objective(name).name for name in objective.NAMES] == list(objective.NAMES)
    with pytest.raises(ValueError, match="'hinge' is not one of nce, softmax"):
        objective.make_objective("hinge")
