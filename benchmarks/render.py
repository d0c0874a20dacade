"""Fills the tables of the pages of docs/ in PAGES from the results, and checks the figures there.

The pages are written by hand except for the tables, which are between markers,

    <!-- begin NAME -->
    <!-- end NAME -->

NAME is a section that one of the scripts declares.  Each is on exactly one page, once; it is empty while there is no
result.  Plots come from plot.py.  _figures.py explains how a figure in the text names the result that it must match.

    python benchmarks/render.py            fills the pages
    python benchmarks/render.py --check    exits 1 if a table or a figure is not what the results give
"""

import re
import sys
from collections.abc import Iterator
from itertools import zip_longest
from typing import Any

import _figures
import _noise_tables
import _record
import _softmax_tables
import _waiting_tables
import bench_eval
import bench_input
import bench_memory
import bench_noise
import bench_scale
import bench_score
import bench_train
import bench_vocab
import kneser_ney
import reliability
import study_chunks
import study_faults
import study_gradients
import study_kills
import study_objectives
import study_recipes
import study_staleness
import study_units
from _tables import Section, read

from nplm import atomic

DOCS = _record.ROOT / "docs"
PAGES = (
    "benchmarks.md", "quality.md", "patent.md", "faults.md", "scale.md", "reliability.md", "contributing.md",
    "learn/bptt.md", "learn/reuse.md",
)  # fmt: skip
MARK = re.compile(r"<!-- (begin|end) (?!findings)(\S+) -->")
BLOCK = re.compile(r"(<!-- begin (?!findings)(\S+) -->\n).*?(<!-- end \2 -->)", re.S)
SCRIPTS = (
    bench_train, bench_vocab, bench_noise, bench_eval, bench_score, bench_memory, bench_input, bench_scale,
    study_recipes, study_objectives, kneser_ney, study_units, study_chunks, study_gradients, study_staleness,
    study_faults, study_kills, _noise_tables, _waiting_tables, _softmax_tables, reliability,
)  # fmt: skip
VERSIONS = {"python": "Python", "numpy": "NumPy", "numba": "Numba", "torch": "PyTorch"}
Results = list[dict[str, Any]]  # what is in result files
SECTIONS: dict[str, Section] = {name: section for script in SCRIPTS for name, section in script.SECTIONS.items()}


def main() -> None:
    old = {page: (DOCS / page).read_text(encoding="utf-8") for page in PAGES}
    check(old)
    new = {page: BLOCK.sub(filled, text) for page, text in old.items()}
    changed = [page for page in PAGES if new[page] != old[page]]
    if "--check" not in sys.argv[1:]:
        for page in changed:
            atomic.write(DOCS / page, [new[page].encode()])
    elif changed:
        sys.exit(f"not what the results give: {', '.join(changed)}; run benchmarks/render.py")
    if found := [f"{page}: {fault}" for page, text in old.items() for fault in _figures.faults(text)]:
        sys.exit("\n".join(found))


def check(pages: dict[str, str]) -> None:
    """Exits with a line that says which marker is unpaired, unknown, missing or there twice."""
    names = []
    for page, text in pages.items():
        marks = MARK.findall(text)
        for found, right in zip_longest(marks, [(kind, name) for _, name in marks[::2] for kind in ("begin", "end")]):
            if found != right:
                sys.exit(f"{page}: marker '{' '.join(found or right)}' without its partner; each begin needs its end")
        names += [name for kind, name in marks if kind == "begin"]
    for name in names:
        if name not in SECTIONS:
            sys.exit(f"marker '{name}' is no table; the tables are {', '.join(SECTIONS)}")
    for name in SECTIONS:
        if names.count(name) != 1:
            sys.exit(f"marker '{name}' stands {names.count(name)} times on {', '.join(pages)}; it is to be there once")


def filled(match: re.Match[str]) -> str:
    """The two markers with what belongs between them."""
    text = "\n".join(render(SECTIONS[match[2]]))
    return f"{match[1]}\n{text}\n{match[3]}" if text else match[1] + match[3]


def render(section: Section) -> Iterator[str]:
    """Lines of a section; none while there is no result."""
    results = read(section.results)
    rows = section.rows([row for result in results for row in result["rows"]])
    if not rows:
        return
    yield f"## {section.title}\n\n{section.text}\n"
    if section.command:
        yield f"Command: `{section.command}`{_duration(section, results)}\n"
    yield f"| {' | '.join(section.columns)} |"
    yield "|" + "---|" * len(section.columns)
    for row in rows:
        yield f"| {' | '.join(section.cells(row))} |"
    yield ""
    for plot, words in section.plots.items():
        yield f"![{words}](plots/{plot}.svg)\n"
    for machine, commits in sorted(_machines(results).items()):
        yield f"Measured on: {machine}, commit{'s' * (len(commits) > 1)} {', '.join(sorted(commits))}.\n"


def _duration(section: Section, results: Results) -> str:
    """How long the training runs of all rows took, where it was recorded."""
    if not section.trained:
        return ""
    minutes = sum(row["seconds"] for result in results for row in result["rows"]) / 60
    took = f"{minutes:.0f} minutes" if minutes < 120 else f"{minutes / 60:.1f} hours"
    return f", which trained for {took}"


def _machines(results: Results) -> dict[str, set[str]]:
    """Each machine of the result files, with the versions there, and the commits that the rows were measured at."""
    found: dict[str, set[str]] = {}
    for result in results:
        machine = result["machine"]
        cores = f"{machine['cores']} core{'s' * (machine['cores'] != 1)}"
        versions = (f"{name} {machine[key]}" for key, name in VERSIONS.items() if machine[key])
        text = ", ".join([machine["cpu"], cores, machine["system"], *versions])
        commits = {str(row.get("commit", machine["commit"])) for row in result["rows"]}
        found.setdefault(text, set()).update(commits)
    return found


if __name__ == "__main__":
    main()
