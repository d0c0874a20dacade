"""Renders docs/benchmarks.md from benchmarks/results/*.json: every figure there comes from a recorded run.

python benchmarks/render.py            writes the page
python benchmarks/render.py --check    exits 1 if the page is not what the results give
"""

import json
import sys
from collections.abc import Iterable
from typing import Any, NamedTuple

import _record

PAGE = _record.ROOT / "docs" / "benchmarks.md"
INTRODUCTION = """# What came out

Rendered by `benchmarks/render.py` from the files in `benchmarks/results/`; nothing on this page is typed by hand.
Machines are shared and noisy: compare ratios within a table, not times between tables.
"""


class Section(NamedTuple):
    """A table of the page."""

    title: str
    text: str
    results: str  # glob of the result files whose rows it shows
    columns: dict[str, str]  # heading -> key of the row, with a format


RECIPES = Section(
    "Recipes",
    "Perplexity is exact, `</s>` and `<unk>` counted; log Z over the test text. Run with"
    " `python benchmarks/study_recipes.py RECIPE`; the settings are in `benchmarks/recipes/`.",
    "recipe-*.json",
    {
        "recipe": "recipe",
        "objective": "objective",
        "seed": "seed",
        "valid": "valid_perplexity:.2f",
        "test": "test_perplexity:.2f",
        "floor": "floor_perplexity:.2f",
        "unigram": "unigram_perplexity:.1f",
        "test tokens": "tokens:,",
        "log Z": "mean_log_z:+.3f",
        "sd": "std_log_z:.3f",
        "tokens/s": "tokens_per_second:,.0f",
        "training s": "seconds:,.0f",
    },
)
SECTIONS = [RECIPES]


def main() -> None:
    text = "\n".join([INTRODUCTION, *(part for section in SECTIONS for part in render(section))])
    if "--check" in sys.argv[1:]:
        sys.exit(0 if PAGE.exists() and PAGE.read_text(encoding="utf-8") == text else 1)
    PAGE.write_text(text, encoding="utf-8")


def render(section: Section) -> Iterable[str]:
    """Lines of a section; none while there is no result."""
    files = sorted(_record.RESULTS.glob(section.results))
    if not files:
        return
    yield f"## {section.title}\n\n{section.text}\n"
    yield "| " + " | ".join(section.columns) + " |"
    yield "|" + "---|" * len(section.columns)
    machines = []
    for file in files:
        result = json.loads(file.read_text(encoding="utf-8"))
        machines.append(result["machine"])
        for row in result["rows"]:
            yield "| " + " | ".join(_cell(row, spec) for spec in section.columns.values()) + " |"
    yield ""
    for line in sorted({_machine(machine) for machine in machines}):
        yield f"Measured on: {line}.\n"


def _cell(row: dict[str, Any], spec: str) -> str:
    key, _, form = spec.partition(":")
    value = row.get(key)
    return "" if value is None else format(value, form)


def _machine(machine: dict[str, Any]) -> str:
    versions = ", ".join(
        f"{name} {machine[name]}" for name in ("python", "numpy", "numba", "torch") if machine[name]
    )
    return f"{machine['cpu']}, {machine['cores']} cores, {machine['system']}, {versions}, commit {machine['commit']}"


if __name__ == "__main__":
    main()
