"""Pictures of docs/pictures stand inside the page, so that their colours follow its theme, light or dark."""

from html import escape
from pathlib import Path
from typing import Any

from docutils import nodes

FOLDER = Path(__file__).resolve().parents[1] / "pictures"


def inline(app: Any, doctree: nodes.document) -> None:
    """Put the file in place of the link to it, with its alternative text."""
    page = Path(app.env.doc2path(app.env.docname))
    for node in list(doctree.findall(nodes.image)):
        path = (page.parent / node["uri"]).resolve()
        if path.parent == FOLDER:
            app.env.note_dependency(str(path))
            svg = path.read_text(encoding="utf-8").replace("<svg", f'<svg aria-label="{escape(node["alt"])}"', 1)
            node.replace_self(nodes.raw("", f'<div class="picture">{svg}</div>', format="html"))


def setup(app: Any) -> dict[str, Any]:
    """Sphinx calls this."""
    app.connect("doctree-read", inline, priority=100)  # before Sphinx collects images
    return {"parallel_read_safe": True, "parallel_write_safe": True}
