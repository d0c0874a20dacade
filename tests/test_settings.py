"""Settings: declared once.  Oracle: the dataclasses themselves, with and without a field that a test adds."""

import ast
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import get_args

import pytest

import nplm
from nplm import config
from nplm.cli import errors, settings, train
from nplm.config import CONFIGS, InputError, ModelConfig, TrainConfig
from nplm.layers import objective

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "howto" / "settings.md"
WARP = '    warp: float = _run(1.5, "Speed, in c.", "W", "(1, 9]", flag="warp-factor")\n'
PLANT = """
import sys, types
from pathlib import Path
import nplm
module = sys.modules["nplm.config"] = types.ModuleType("nplm.config")
module.__path__ = [str(Path(nplm.__file__).parent / "config")]
exec(sys.argv[1], vars(module))
from nplm.cli import main, settings
print(settings.table())
main(sys.argv[2:])
"""


def planted(*args):
    """A process in which config/__init__.py has one line more: WARP, among the fields of TrainConfig."""
    before, epochs, after = (
        (ROOT / "nplm" / "config" / "__init__.py").read_text(encoding="utf-8").partition("    epochs: int = ")
    )
    command = [sys.executable, "-c", PLANT, before + WARP + epochs + after, *args]
    return subprocess.run(command, capture_output=True, text=True)


def test_a_setting_that_is_added_is_in_help_and_table(tmp_path):
    """One line in the dataclass gives the option, the row, the check, the entry of a config file and the message."""
    got = planted("train", "--help")
    assert "| `--warp-factor W` | `warp` | (1, 9] | 1.5 | Speed, in c. |" in got.stdout.splitlines()
    assert "--warp-factor W Speed, in c. [default: 1.5]" in " ".join(got.stdout.split())
    for flags in (["--warp-factor", "10"], ["--corpus=markov", "--warp-factor=1"]):
        got = planted("train", *flags)
        assert got.returncode == 2 and f"error: --warp-factor = {flags[-1][-2:].strip('=')} is outside" in got.stderr
    (tmp_path / "recipe.toml").write_text("[train]\nwarp_factor = 'fast'\n")
    got = planted("train", "--config", str(tmp_path / "recipe.toml"))
    assert got.returncode == 2 and "[train]: warp-factor = 'fast' is not a number" in got.stderr


def test_without_it_nothing_knows_it(nplm):
    """The same places."""
    assert "warp" not in nplm("train", "--help").out + settings.table()
    assert errors.with_flags("`warp` = 10") == "`warp` = 10"


def test_every_field_is_declared():
    """The dataclasses: each field but vocab_size has an option, and its default is in the help of that option."""
    with train.command.make_context("train", []) as ctx:
        records = {param.name: param.get_help_record(ctx) for param in train.command.params}
    flags = {setting.name: setting.flag for setting in settings.SETTINGS}
    for field in (field for kind in CONFIGS for field in fields(kind) if field.name != "vocab_size"):
        spelling, text = records[field.name]
        default = f"{field.default:g}" if isinstance(field.default, float) else field.default
        assert spelling.startswith(f"--{flags[field.name]}") and field.metadata["help"].endswith(".")
        assert field.default is None or text.endswith(f"[default: {default}]")


def test_the_page_is_the_table():
    """docs/howto/settings.md ends with what `table` gives."""
    assert PAGE.read_text(encoding="utf-8").endswith(f"{settings.table()}\n")


def test_settings_are_named_by_their_fields():
    """What stands in backticks in a meaning is the name of a setting."""
    names = {setting.name for setting in settings.SETTINGS}
    cited = {name for setting in settings.SETTINGS for name in re.findall("`([^`]*)`", setting.help)}
    assert cited and cited <= names
    assert not any(re.search("--[a-z]", setting.help) for setting in settings.SETTINGS)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5 tokens cannot be cut into 20 streams; lower `batch_size`", "lower --batch-size"),
        ("`num_noise` and `save`, not `utt-id words` and `word`", "--nce and --save, not `utt-id words` and `word`"),
    ],
)
def test_flags_take_the_place_of_fields(text, expected):
    """By hand."""
    assert errors.with_flags(text).endswith(expected)


def test_messages_of_the_library_name_fields():
    """The strings of the package outside cli/, docstrings aside: none speaks of a flag."""
    found = []
    for path in sorted((ROOT / "nplm").rglob("*.py")):
        if "cli" not in path.parts:
            tree = ast.parse(path.read_text(encoding="utf-8"))
            docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
            texts = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in docs)
            found += [(path.name, text.value) for text in texts if re.search(r"--[a-z]", str(text.value))]
    assert found == []


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (TrainConfig, {"bptt": 0}, "`bptt` = 0 is outside [1, 2^20]"),
        (TrainConfig, {"bptt": 2.5}, "`bptt` = 2.5 is not a whole number"),
        (TrainConfig, {"bptt": True}, "`bptt` = True is not a whole number"),
        (TrainConfig, {"lr": "1"}, "`lr` = '1' is not a number"),
        (TrainConfig, {"lr": float("nan")}, "`lr` = nan is outside (0, inf)"),
        (TrainConfig, {"lr": float("inf")}, "`lr` = inf is outside (0, inf)"),
        (TrainConfig, {"dropout": 1.0}, "`dropout` = 1 is outside [0, 1)"),
        (TrainConfig, {"noise": "stale"}, "`noise` = 'stale' is not one of fresh, pool"),
        (TrainConfig, {"variational": 1}, "`variational` = 1 is not true or false"),
        (ModelConfig, {"vocab_size": 1}, "`vocab_size` = 1 is outside [2, 2^31)"),
        (ModelConfig, {"vocab_size": 9, "noise_uniform": 1.5}, "`noise_uniform` = 1.5 is outside [0, 1]"),
        (TrainConfig, {"seed": 2**63}, f"`seed` = {2**63} is outside [0, 2^63)"),
        (config.TextConfig, {"train": 3}, "`train` = 3 is not a string"),
        (config.TextConfig, {"corpus": "ptb"}, "`corpus` = 'ptb' is not one of python, markov, hmm"),
        (config.TextConfig, {}, "nothing to train on: give `train` (a file) or `corpus`"),
        (config.TextConfig, {"corpus": "hmm", "valid": "v.txt"}, "leave out `valid`"),
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
