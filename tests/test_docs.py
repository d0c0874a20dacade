"""Oracle: the documentation itself. Its Python blocks run, its links lead somewhere, its equations are the code's."""

import re
import textwrap
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [page for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))] if page.exists()]
SOURCES = sorted((ROOT / "nplm").glob("**/*.py"))
# layers whose equations stand in a derivation
DERIVED = ["dropout", "embedding", "lstm", "nce", "sampled_softmax", "softmax"]

FENCE = re.compile(r"^(?P<indent> *)```(?P<info>[^\n`]*)\n(?P<body>.*?)^(?P=indent)```[ ]*$", re.M | re.S)
LINK = re.compile(r"\[[^\]\[]*\]\(\s*<?([^)>\s]+)>?[^)]*\)|^\[[^\]]+\]:\s+(\S+)", re.M)
MARKER = re.compile(r"^(<{7}|>{7}) ", re.M)
LABEL = re.compile(r"\[d?[A-Z]\d+\]")


class Block(NamedTuple):
    """A fenced block: the words after its opening fence, its text, and the line its text starts at, from 1."""

    info: list[str]
    text: str
    line: int


def blocks(page: Path) -> list[Block]:
    """The page's fenced Python blocks, in order."""
    content = page.read_text(encoding="utf-8")
    found = []
    for match in FENCE.finditer(content):
        info = match["info"].split()
        if info[:1] == ["python"]:
            line = content.count("\n", 0, match.start("body")) + 1
            found.append(Block(info, textwrap.dedent(match["body"]), line))
    return found


def run(page: Path) -> None:
    """Executes the page's blocks in one namespace; a traceback shows the page and its line."""
    namespace: dict[str, object] = {"__name__": page.stem}
    for block in blocks(page):
        if "notest" not in block.info:
            code = "\n" * (block.line - 1) + block.text
            exec(compile(code, str(page), "exec"), namespace)


def unexplained(page: Path) -> list[int]:
    """Lines of the blocks that are not run and have no comment to say why."""
    return [b.line for b in blocks(page) if "notest" in b.info and not re.match(r"\s*# *\w", b.text)]


def broken_links(page: Path, root: Path) -> list[str]:
    """The page's relative links that lead to nothing, or out of the project."""
    content = FENCE.sub("", page.read_text(encoding="utf-8"))
    links = [link or other for link, other in LINK.findall(content)]
    broken = []
    for link in links:
        path = link.partition("#")[0]
        if path and not re.match(r"[a-z]+:", path):
            target = (page.parent / path).resolve()
            if not (target.exists() and target.is_relative_to(root.resolve())):
                broken.append(link)
    return broken


def bare_tags(text: str) -> list[str]:
    """Words such as <s> that would be read as HTML and vanish from the page."""
    prose = re.sub(r"^ {4}[^\n]*|<!--.*?-->|`[^`]*`", "", FENCE.sub("", text), flags=re.M | re.S)
    return re.findall(r"</?[a-z]+>", prose)


def equations(text: str) -> dict[str, list[str]]:
    """label -> the formulas on its line, which gaps of two spaces or more keep apart, without the words among them."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        match = re.match(r"(\[d?[A-Z]\d+\])\s+(.*)", line)
        if match:
            found[match[1]] = [part for part in re.split(r"\s{2,}", match[2]) if "=" in part]
    return found


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=name)
def test_blocks_run(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Oracle: the asserts in the page, and that nothing else is raised; run in an empty folder."""
    monkeypatch.chdir(tmp_path)
    run(page)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_and_skips(page: Path) -> None:
    """Oracle: the project's own files; and the rule that a block which is not run says why."""
    assert broken_links(page, ROOT) == []
    assert unexplained(page) == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_no_word_is_html(page: Path) -> None:
    """Oracle: Markdown: <s> outside of code strikes the text through."""
    assert bare_tags(page.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("layer", DERIVED)
def test_equations_are_the_same_in_code_and_derivation(layer: str) -> None:
    """Oracle: the labelled lines of layers/ and reference/ stand in the derivation, and no others are cited."""
    page = (ROOT / "docs" / "learn" / f"{layer}.md").read_text(encoding="utf-8")
    fast, slow = ((ROOT / "nplm" / part / f"{layer}.py").read_text() for part in ("layers", "reference"))
    derived = equations(page)
    assert blocks(ROOT / "docs" / "learn" / f"{layer}.md"), "a derivation has a check under it"
    assert derived and derived == equations(fast)
    for label, formulas in equations(slow).items():
        assert all(ours.startswith(theirs) for theirs, ours in zip(formulas, derived[label], strict=True)), label
    letter = max(derived)[-3]  # "[dL5]" -> "L"
    in_code, in_page = ({x for x in LABEL.findall(text) if x[-3] == letter} for text in (fast + slow, page))
    assert in_page == in_code


def test_no_merge_has_left_its_markers() -> None:
    """Every text of the project: no line that git writes into a conflict."""
    folders = ("docs", "nplm", "tests", "benchmarks", ".ci")
    files = [
        path for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in (".md", ".py", ".toml")
    ]
    marked = [path for path in [ROOT / "README.md", *files] if MARKER.search(path.read_text(encoding="utf-8"))]
    assert len(files) > 400 and marked == []
    assert MARKER.search("a\n<<<<<<" + "< HEAD\n") and not MARKER.search("a <<<<<<< b\n=======\n")


def test_decisions_are_numbered_once() -> None:
    """Oracle: the file names."""
    pages = sorted((ROOT / "docs" / "decisions").iterdir())
    assert pages and all(re.fullmatch(r"\d{4}-[a-z0-9-]+\.md", page.name) for page in pages)
    numbers = [page.name[:4] for page in pages]
    assert len(set(numbers)) == len(numbers)
    for page in pages:
        assert page.read_text(encoding="utf-8").startswith(f"# {page.name[:4]}: "), page.name


@pytest.mark.parametrize(
    "source", [p for p in SOURCES if "docs/" in (s := p.read_text()) or "decision " in s], ids=name
)
def test_pages_named_in_the_code_exist(source: Path) -> None:
    """Oracle: the project's own files."""
    text = source.read_text(encoding="utf-8")
    for path in re.findall(r"docs/[\w/-]+\.md", text):
        assert (ROOT / path).exists(), path
    for number in re.findall(r"\bdecisions? (\d{4})", text):
        assert list((ROOT / "docs" / "decisions").glob(f"{number}-*.md")), number


def test_faults_are_found(tmp_path: Path) -> None:
    """Oracle: planted faults: a failing assert at a known line, a dead link, a skip without a reason."""
    page = tmp_path / "page.md"
    page.write_text(
        "[a](page.md) [b](gone.md#x) [c](https://example.org/gone) [d](#here) [e](../)\n"
        "```python\nx = 2\n```\n"
        "```text\n[f](in-a-fence.md)\nassert False\n```\n"
        "```python notest\nraise SystemExit\n```\n"
        "```python notest\n# needs a file of the reader's\nraise SystemExit\n```\n"
        "- in a list\n\n  ```python\n  assert x == 2\n  assert x == 3\n  ```\n"
    )
    assert broken_links(page, tmp_path) == ["gone.md#x", "../"]
    assert unexplained(page) == [10]
    with pytest.raises(AssertionError) as caught:
        run(page)
    assert caught.traceback[-1].lineno + 1 == 20
    assert bare_tags("a <s> `<s>` <!-- <s> -->\n\n    <s>\n```text\n<s>\n```\n</unk>") == ["<s>", "</unk>"]
    assert equations("[L1] a = b  c\n[dL1] d = e   f = g\n  [L2] h = i") == {
        "[L1]": ["a = b"],
        "[dL1]": ["d = e", "f = g"],
    }


def test_the_reading_order_leads_through_every_file():
    """Oracle: the files of the package; a folder that is linked as a whole stands for its files."""
    text = (ROOT / "docs" / "reading-order.md").read_text(encoding="utf-8")
    for path in SOURCES:
        if not path.name.startswith("__"):
            file, folder = (part.relative_to(ROOT).as_posix() for part in (path, path.parent))
            assert f"(../{file})" in text or (folder != "nplm" and f"(../{folder})" in text), file
