"""What perplexity does each recipe reach, in what time, and how near to normalised is the model?

Runs `nplm train` with a recipe of benchmarks/recipes/ and records what it prints.  A run that was stopped goes on.

    python benchmarks/study_recipes.py ptb-small            # PTB from the folder in NPLM_DATA
    python benchmarks/study_recipes.py markov hmm
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import _record
import _training
from _tables import Section

from nplm.training.run_folder import read_config

DEMO = "python-demo"  # the recipe is that of `nplm demo`
TABLE = Section(
    "Recipes",
    "Perplexity is exact, `</s>` and `<unk>` counted; log Z over the test text. Run with"
    " `python benchmarks/study_recipes.py RECIPE`; the settings are in `benchmarks/recipes/`, those of"
    " python-demo in `nplm/cli/demo.py`.",
    "recipe-*.json",
    {
        "recipe": "recipe", "objective": "objective", "seed": "seed", "valid": "valid_perplexity:.2f",
        "test": "test_perplexity:.2f", "floor": "floor_perplexity:.2f", "unigram": "unigram_perplexity:.1f",
        "test tokens": "tokens:,", "log Z": "mean_log_z:+.3f", "sd": "std_log_z:.3f",
        "tokens/s": "tokens_per_second:,.0f", "training s": "seconds:,.0f",
    },
)  # fmt: skip
SECTIONS = {"recipes": TABLE}


def run(recipe: str, runs: Path, quick: bool) -> dict[str, Any]:
    """Train a recipe, or go on with it; returns its row."""
    changes = ["--epochs", "1"] if quick else []
    if recipe == DEMO:
        result = _training.figures([sys.executable, "-m", "nplm", "demo", "--json", *changes])
    else:
        result = _training.train(runs / recipe, recipe, changes)
    fitted = recipe != DEMO and read_config(runs / recipe)["train"].get("fit_log_z", False)
    kept = {name: result[name] for name in _training.KEPT}
    return {"recipe": recipe, "objective": "nce", "fit_log_z": fitted} | kept


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "recipes", nargs="+", choices=[DEMO, *sorted(path.stem for path in _training.RECIPES.glob("*.toml"))]
    )
    parser.add_argument("--runs", type=Path, default=_record.ROOT / "runs", help="where the runs are kept")
    parser.add_argument("--quick", action="store_true", help="one epoch only, for tests; nothing is recorded")
    parser.add_argument("--json", type=Path, help="result file; default: benchmarks/results/recipe-RECIPE.json")
    arguments = parser.parse_args()
    for recipe in arguments.recipes:
        row = run(recipe, arguments.runs, arguments.quick)
        print(json.dumps(row))
        if arguments.json or not arguments.quick:
            _record.write(arguments.json or _record.RESULTS / f"recipe-{recipe}.json", [row])


if __name__ == "__main__":
    main()
