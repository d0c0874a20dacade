"""Under a block of labelled equations, the lines of code that are these equations."""

import re
from pathlib import Path
from typing import Any

from docutils import nodes

from _site.sources import ROOT, labels, reference

LABEL = re.compile(r"^\[(d?[A-Z]\d+)\](?: to \[(d?[A-Z]\d+)\])?", re.M)
PLACES = {"nplm/reference": "reference", "nplm/layers": "layer", "nplm/training": "program", "docs/minimal": "one file"}


def place_of(path: Path) -> str | None:
    """What a reader calls the place of a file."""
    return PLACES.get(path.parent.relative_to(ROOT).as_posix())


def link_equations(app: Any, doctree: nodes.document) -> None:
    """[N1] reference:22, layer:53, one file:60 - each a link to its line."""
    lines = labels()
    for block in list(doctree.findall(nodes.literal_block)):
        cited = [match[1] for match in LABEL.finditer(block.astext())]
        if block.get("language") != "text" or not cited:
            continue
        block["classes"].append("equations")
        row = nodes.paragraph(classes=["in-code"])
        for label in dict.fromkeys(cited):
            places = {}
            for path, number in lines.get(label, []):
                if (place := place_of(path)) and place not in places:
                    places[place] = (path, number)
            if places:
                row += nodes.inline("", f"[{label}]\u00a0", classes=["label"])
            for place in sorted(places, key=[*PLACES.values()].index):
                path, number = places[place]
                text = nodes.Text(f"{place}:{number}".replace(" ", "\u00a0"))
                row += [reference(app, app.env.docname, path, [text], number), nodes.Text(" ")]
        if row.children:
            block.parent.insert(block.parent.index(block) + 1, row)


def setup(app: Any) -> dict[str, Any]:
    """Sphinx calls this."""
    app.connect("doctree-read", link_equations)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
