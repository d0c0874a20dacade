"""Fills docs/{benchmarks,quality,patent}.md from benchmarks/results/*.json: every measured figure there is recorded.

The pages are written by hand but for what stands between markers,

    <!-- begin NAME -->
    <!-- end NAME -->

NAME is a table of sections.py or a finding of findings.py.  Each stands on one page, once; it is empty while there is
no result.  Plots come from plot.py.

    python benchmarks/render.py            fills the pages
    python benchmarks/render.py --check    exits 1 if a page is not what the results give
"""

import re
import sys
from collections.abc import Iterator
from itertools import zip_longest
from typing import Any

import _record
from _rows import Row, read, rows_of
from findings import FINDINGS, Finding
from sections import SECTIONS, Section

DOCS = _record.ROOT / "docs"
PAGES = ("benchmarks.md", "quality.md", "patent.md")
MARK = re.compile(r"<!-- (begin|end) (\S+) -->")
BLOCK = re.compile(r"(<!-- begin (\S+) -->\n).*?(<!-- end \2 -->)", re.S)
BLOCKS: dict[str, Section | Finding] = SECTIONS | FINDINGS


def main() -> None:
    old = {page: (DOCS / page).read_text(encoding="utf-8") for page in PAGES}
    check(old)
    new = {page: BLOCK.sub(filled, text) for page, text in old.items()}
    changed = [page for page in PAGES if new[page] != old[page]]
    if "--check" in sys.argv[1:]:
        sys.exit(f"not what the results give: {', '.join(changed)}; run benchmarks/render.py" if changed else 0)
    for page in changed:
        beside = DOCS / f".{page}"
        beside.write_text(new[page], encoding="utf-8")
        beside.replace(DOCS / page)


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
        if name not in BLOCKS:
            sys.exit(f"marker '{name}' is neither a table nor a finding; they are {', '.join(BLOCKS)}")
    for name in BLOCKS:
        if names.count(name) != 1:
            sys.exit(f"marker '{name}' stands {names.count(name)} times on {', '.join(pages)}; it is to be there once")


def filled(match: re.Match[str]) -> str:
    """The two markers with what belongs between them."""
    block = BLOCKS[match[2]]
    lines = render(block) if isinstance(block, Section) else paragraph(block)
    text = "\n".join(lines)
    return f"{match[1]}\n{text}\n{match[3]}" if text else match[1] + match[3]


def paragraph(finding: Finding) -> Iterator[str]:
    """A finding, its sentences as a list; nothing if it has none."""
    if items := list(finding.sentences(*map(rows_of, finding.results))):
        yield f"**{finding.title}**\n"
        yield from (f"- {item}" for item in items)
        yield ""


def render(section: Section) -> Iterator[str]:
    """Lines of a section; none while there is no result."""
    results = read(section.results)
    rows = section.rows([row for result in results for row in result["rows"]])
    if not rows:
        return
    yield f"## {section.title}\n\n{section.text}\n"
    yield "| " + " | ".join(section.columns) + " |"
    yield "|" + "---|" * len(section.columns)
    for row in rows:
        yield "| " + " | ".join(_cell(row, spec) for spec in section.columns.values()) + " |"
    yield ""
    for plot in section.plots:
        yield f"![{section.title}](plots/{plot}.svg)\n"
    for line in sorted({line for result in results for line in _machines(result)}):
        yield f"Measured on: {line}.\n"


def _cell(row: Row, spec: str) -> str:
    path, _, form = spec.partition(":")
    value: Any = row
    for key in path.split("."):
        value = value.get(key) if value is not None else None
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "" if value is None else format(value, form)


def _machines(result: dict[str, Any]) -> Iterator[str]:
    """The machine of a result file, once for each commit that its rows are of."""
    machine = result["machine"]
    for commit in {row.get("commit", machine["commit"]) for row in result["rows"]}:
        yield _machine(machine | {"commit": commit})


def _machine(machine: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {machine[name]}" for name in ("python", "numpy", "numba", "torch") if machine[name])
    return f"{machine['cpu']}, {machine['cores']} cores, {machine['system']}, {versions}, commit {machine['commit']}"


if __name__ == "__main__":
    main()
