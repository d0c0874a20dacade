"""Pages of the source files, with an anchor at every line: links to files and folders of the project lead to them."""

import importlib
import inspect
import re
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

from docutils import nodes
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer
from sphinx import addnodes

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("nplm", "tests", "benchmarks", "docs/minimal", "docs/pictures")
FOLDER_PAGES = {ROOT / "docs" / "learn": "learn/index", ROOT / "docs" / "decisions": "why"}


def source_files() -> list[Path]:
    """The Python files that get a page."""
    found = (path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
    return sorted(path for path in found if "__pycache__" not in path.parts)


def page_of(path: Path) -> str:
    """Name of the page of a file or folder: source/nplm/layers/nce.py, source/nplm/layers/index."""
    name = f"source/{path.relative_to(ROOT).as_posix()}"
    return f"{name}/index" if path.is_dir() else name


def has_page(path: Path) -> bool:
    """Whether a file or folder has a page."""
    inside = any(path.is_relative_to(ROOT / folder) for folder in FOLDERS)
    return inside and path.exists() and (path.suffix == ".py" or path.is_dir())


def link_files(app: Any, doctree: nodes.document) -> None:
    """Make links to Python files and folders lead to their pages; for Sphinx they are downloads, or lead nowhere."""
    docname = app.env.docname
    page = Path(app.env.doc2path(docname))
    for kind in (addnodes.download_reference, addnodes.pending_xref):
        for node in list(doctree.findall(kind)):
            path = (page.parent / node["reftarget"]).resolve()
            if path in FOLDER_PAGES:
                uri = app.builder.get_relative_uri(docname, FOLDER_PAGES[path])
                node.replace_self(nodes.reference("", "", *node.children, internal=True, refuri=uri))
            elif has_page(path):
                node.replace_self(reference(app, docname, path, node.children))


def reference(
    app: Any, docname: str, path: Path, content: list[nodes.Node], line: int | None = None
) -> nodes.reference:
    """A link from a page to a file, or to a line of it."""
    uri = app.builder.get_relative_uri(docname, page_of(path)) + (f"#L-{line}" if line else "")
    return nodes.reference("", "", *[child.deepcopy() for child in content], internal=True, refuri=uri)


def pages(app: Any) -> Iterator[tuple[str, dict[str, Any], str]]:
    """One page a file, with a number and an anchor at every line, and one page a folder."""
    formatter = HtmlFormatter(lineanchors="L", linenos="inline", anchorlinenos=True)
    files = source_files()
    for path in files:
        code = highlight(path.read_text(encoding="utf-8"), PythonLexer(), formatter)
        yield context(path, code)
    folders = {parent for path in files for parent in path.parents if parent != ROOT and ROOT in parent.parents}
    for folder in sorted(folders):
        inside = sorted({p for p in (*files, *folders) if p.parent == folder})
        hrefs = [f"{p.name}/index.html" if p.is_dir() else f"{p.name}.html" for p in inside]
        items = "".join(
            f'<li><a href="{href}">{escape(p.name)}</a></li>' for href, p in zip(hrefs, inside, strict=True)
        )
        yield context(folder, f"<ul>{items}</ul>")


def context(path: Path, body: str) -> tuple[str, dict[str, Any], str]:
    """What Sphinx wants of a page."""
    title = path.relative_to(ROOT).as_posix()
    return (
        page_of(path),
        {"title": title, "body": f'<h1>{escape(title)}</h1><div class="source">{body}</div>'},
        "page.html",
    )


def line_of(value: Any) -> tuple[Path, int] | None:
    """File and line where a class or function begins."""
    value = inspect.unwrap(getattr(value, "fget", None) or getattr(value, "__func__", value))
    if not (inspect.isclass(value) or inspect.isfunction(value)):
        return None
    path = Path(inspect.getsourcefile(value) or "").resolve()
    return (path, inspect.getsourcelines(value)[1]) if path.is_relative_to(ROOT / "nplm") else None


def link_objects(app: Any, doctree: nodes.document) -> None:
    """Behind every class, method and function of the API pages, a link to its first line."""
    for signature in doctree.findall(addnodes.desc_signature):
        if "module" not in signature:
            continue
        value = importlib.import_module(signature["module"])
        try:
            for name in signature["fullname"].split("."):
                value = getattr(value, name)
        except AttributeError:  # a field that only instances have
            continue
        if found := line_of(value):
            mark = nodes.inline("", "source", classes=["source-link"])
            signature.append(reference(app, app.env.docname, found[0], [mark], found[1]))


def escape_marks(app: Any, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """In the docstrings |x| and x*y are mathematics, not the marks of reStructuredText."""
    lines[:] = [re.sub(r"([*|])", r"\\\1", line) for line in lines]


def unlink_types(app: Any, doctree: nodes.document) -> None:
    """Types in docstrings that Sphinx would confuse with a public name: `path`, and the State of a network."""
    for node in list(doctree.findall(addnodes.pending_xref)):
        name = node["reftarget"]
        if node.get("refdomain") == "py" and (name.islower() or (name == "State" and app.env.docname == "api/model")):
            node.replace_self(node.children)


def outdated(app: Any, env: Any, added: set[str], changed: set[str], removed: set[str]) -> list[str]:
    """Pages that name lines of the source are read again in every build."""
    return [name for name in env.found_docs if name.startswith(("learn/", "api/"))]


def labels() -> dict[str, list[tuple[Path, int]]]:
    """For every label such as L4, the lines of code whose comments cite it."""
    found: dict[str, list[tuple[Path, int]]] = {}
    for path in source_files():
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            for label in re.findall(r"\[(d?[A-Z]\d+)\]", line.partition("  # ")[2]):
                found.setdefault(label, []).append((path, number))
    return found


def setup(app: Any) -> dict[str, Any]:
    """Sphinx calls this."""
    app.connect("doctree-read", link_files, priority=100)  # before Sphinx collects downloads
    app.connect("doctree-read", link_objects)
    app.connect("doctree-read", unlink_types, priority=100)
    app.connect("env-get-outdated", outdated)
    app.connect("autodoc-process-docstring", escape_marks, priority=100)  # before napoleon
    app.connect("html-collect-pages", pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
