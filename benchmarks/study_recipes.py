"""What perplexity does each recipe reach, in what time, and how near to normalised is the model?

Runs `nplm train` with a recipe of benchmarks/recipes/ and records what it prints.  A run that was stopped goes on.

    python benchmarks/study_recipes.py ptb-small            # PTB from the folder in NPLM_DATA
    python benchmarks/study_recipes.py markov hmm
    python benchmarks/study_recipes.py ptb-small --seeds 1 2 3 --precision bfloat16
    python benchmarks/study_recipes.py ptb-medium --epochs 40 --precision bfloat16
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import _record
import _training
from _tables import Section

from nplm.training.run_config import read_config

DEMO = "python-demo"  # the recipe is that of `nplm demo`
TABLE = Section(
    "Recipes",
    "Perplexity is exact, with `</s>` and `<unk>` counted. `floor`: that of the process that generated a synthetic"
    " text; `unigram`: that of word frequencies alone; log Z over the test text. The settings are in"
    " `benchmarks/recipes/`, those of python-demo in `nplm/cli/demo.py`; an empty cell of epochs or precision stands"
    " for the recipe's own.",
    "recipe-*.json",
    {
        "recipe": "recipe", "objective": "objective", "precision": "precision", "epochs": "epochs", "seed": "seed",
        "validation": "valid_perplexity:.2f", "test": "test_perplexity:.2f", "floor": "floor_perplexity:.2f",
        "unigram": "unigram_perplexity:.1f", "test tokens": "tokens:,", "mean log Z": "mean_log_z:+.3f",
        "sd of log Z": "std_log_z:.3f", "tokens/s": "tokens_per_second:,.0f", "training, s": "seconds:,.0f",
    },
    command="python benchmarks/study_recipes.py RECIPE",
    trained=True,
)  # fmt: skip
SECTIONS = {"recipes": TABLE}


def run(recipe: str, folder: Path, changes: list[str]) -> dict[str, Any]:
    """Train a recipe with changed flags, or go on with it; returns its row."""
    row: dict[str, Any] = {"recipe": recipe, "objective": "nce", "fit_log_z": False}
    if recipe == DEMO:
        result = _training.figures([sys.executable, "-m", "nplm", "demo", "--json", *changes])
    else:
        result = _training.train(folder, recipe, changes)
        config = read_config(folder)
        row["fit_log_z"] = config["train"].get("fit_log_z", False)
        row |= config["products"] | {"epochs": config["train"]["epochs"]}
    return row | {name: result[name] for name in _training.KEPT}


def flags_of(arguments: argparse.Namespace, seed: int | None) -> list[str]:
    """What the arguments change of a recipe."""
    epochs = 1 if arguments.quick else arguments.epochs
    changed = {"--epochs": epochs, "--seed": seed, "--precision": arguments.precision}
    return [part for flag, value in changed.items() if value is not None for part in (flag, str(value))]


def main() -> None:
    parser = _record.parser(__doc__, "one epoch only", "recipe-RECIPE")
    recipes = sorted(path.stem for path in _training.RECIPES.glob("*.toml"))
    parser.add_argument("recipes", nargs="+", choices=[DEMO, *recipes])
    parser.add_argument("--runs", type=Path, default=_record.ROOT / "runs", help="where the runs are kept")
    parser.add_argument("--precision", choices=["float32", "bfloat16", "auto"], help="instead of the recipe's")
    parser.add_argument("--seeds", type=int, nargs="+", metavar="N", default=[None], help="a row for each")
    parser.add_argument("--epochs", type=int, metavar="N", help="instead of the recipe's")
    arguments = parser.parse_args()
    for recipe in arguments.recipes:
        rows = []
        for seed in arguments.seeds:
            flags = flags_of(arguments, seed)
            rows.append(run(recipe, arguments.runs / "-".join([recipe, *flags[1::2]]), flags))
            print(json.dumps(rows[-1]))
        name = "-".join(["recipe", recipe, *flags_of(arguments, None)[1::2]])
        if path := _record.path_of(arguments, name):
            _record.write(path, rows)


if __name__ == "__main__":
    main()
