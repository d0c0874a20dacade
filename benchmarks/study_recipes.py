"""What perplexity does each recipe reach, in what time, and how near to normalised is the model?

Runs `nplm train` with a recipe of benchmarks/recipes/ and records what it prints.  A run that was stopped goes on.

    python benchmarks/study_recipes.py ptb-small            # PTB from the folder in NPLM_DATA
    python benchmarks/study_recipes.py markov hmm
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import _record

DEMO = "python-demo"  # the recipe is that of `nplm demo`
RECIPES = _record.ROOT / "benchmarks" / "recipes"
KEPT = (
    "seed", "valid_perplexity", "test_perplexity", "unigram_perplexity", "floor_perplexity", "mean_log_z", "std_log_z",
    "tokens", "tokens_per_second", "seconds",
)  # fmt: skip


def command(recipe: str, folder: Path, quick: bool) -> list[str]:
    """The command that trains a recipe, or goes on with it."""
    if recipe == DEMO:
        return [sys.executable, "-m", "nplm", "demo", "--json", *(["--epochs", "1"] if quick else [])]
    start = [sys.executable, "-m", "nplm", "train", "--save", str(folder), "--json"]
    if (folder / "last.safetensors").exists():
        return [*start, "--resume"]
    text = []
    if recipe.startswith("ptb"):
        data = Path(os.environ.get("NPLM_DATA", _record.ROOT.parent / "shared" / "data")) / "ptb"
        text = [
            part for name in ("train", "valid", "test") for part in (f"--{name}", str(data / f"{name}.txt"))
        ]
    return [*start, "--config", str(RECIPES / f"{recipe}.toml"), *text, *(["--epochs", "1"] if quick else [])]


def run(recipe: str, runs: Path, quick: bool) -> dict[str, Any]:
    """Train a recipe; returns its row."""
    done = subprocess.run(
        command(recipe, runs / recipe, quick), stdout=subprocess.PIPE, text=True, check=True
    )
    result = json.loads(done.stdout.splitlines()[-1])
    return {"recipe": recipe, "objective": "nce"} | {name: result[name] for name in KEPT}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "recipes", nargs="+", choices=[DEMO, *sorted(path.stem for path in RECIPES.glob("*.toml"))]
    )
    parser.add_argument("--runs", type=Path, default=_record.ROOT / "runs", help="where the runs are kept")
    parser.add_argument("--quick", action="store_true", help="one epoch only, for tests; nothing is recorded")
    parser.add_argument(
        "--json", type=Path, help="result file; default: benchmarks/results/recipe-RECIPE.json"
    )
    arguments = parser.parse_args()
    for recipe in arguments.recipes:
        row = run(recipe, arguments.runs, arguments.quick)
        print(json.dumps(row))
        if arguments.json or not arguments.quick:
            _record.write(arguments.json or _record.RESULTS / f"recipe-{recipe}.json", [row])


if __name__ == "__main__":
    main()
