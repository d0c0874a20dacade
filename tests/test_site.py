"""The site.  Oracles: Sphinx, with warnings as errors; the built folder, in which every link must lead somewhere."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import nplm

ROOT = Path(__file__).resolve().parent.parent
MISSING = [name for name in ("sphinx", "myst_parser", "furo", "latex2mathml") if find_spec(name) is None]
SECTIONS = ("Start", "Learn", "Use", "Check your layer", "Findings", "Why")
LOADING = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "srcset", "object": "data"}

needs_docs = pytest.mark.skipif(bool(MISSING), reason=f"pip install 'nplm-nce[docs]': no {', '.join(MISSING)}")


class Page(HTMLParser):
    """What a page of the site links to, loads, and can be linked to at."""

    def __init__(self, html):
        super().__init__()
        self.links, self.loads, self.anchors = [], [], set()
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.anchors |= {found[key] for key in ("id", "name") if found.get(key)}
        if tag == "a" and found.get("href"):
            self.links.append(found["href"])
        if found.get(LOADING.get(tag)) and found.get("rel") not in ("index", "search", "next", "prev", "genindex"):
            self.loads.append(found[LOADING[tag]])


def read(site):
    """Path -> page, for every page of a built site."""
    return {path: Page(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}


def broken(pages, site):
    """Links of the pages that lead to nothing in the site, with the page they are on."""
    found = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            anchor = unquote(parts.fragment)
            inside = target.is_relative_to(site) and target.exists()
            if not inside or (anchor and target in pages and anchor not in pages[target].anchors):
                found.append(f"{path.relative_to(site)}: {link}")
    return found


def foreign(pages, site):
    """What is loaded from another host, by pages and by style sheets."""
    found = [
        f"{path.relative_to(site)}: {url}" for path, page in pages.items() for url in page.loads if _is_foreign(url)
    ]
    for path in site.rglob("*.css"):
        urls = re.findall(r"url\(\s*['\"]?([^)'\"]+)", path.read_text(encoding="utf-8"))
        found += [f"{path.relative_to(site)}: {url}" for url in urls if _is_foreign(url)]
    return found


def _is_foreign(url):
    return url.startswith("//") or urlsplit(url).scheme in ("http", "https")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, built as .ci/run and a reader build it."""
    folder = tmp_path_factory.mktemp("site").resolve()
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-j", "2", "-d", folder.parent / "doctrees"]
    done = subprocess.run([*command, ROOT / "docs", folder], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site):
    return read(site)


@needs_docs
def test_every_internal_link_leads_somewhere(pages, site):
    """Oracle: the files and anchors of the built folder."""
    assert len(pages) > 100
    assert broken(pages, site) == []


@needs_docs
def test_nothing_is_loaded_from_another_host(pages, site):
    """Oracle: every src, href and url() that a browser would fetch."""
    assert sum(len(page.loads) for page in pages.values()) > len(pages)
    assert foreign(pages, site) == []


@needs_docs
def test_the_sections(site):
    """Oracle: the issue's list, in its order, in the navigation."""
    captions = re.findall(r'class="caption-text">([^<]+)<', (site / "index.html").read_text(encoding="utf-8"))
    assert tuple(dict.fromkeys(captions)) == SECTIONS


@needs_docs
def test_every_page_of_the_docs_is_in_the_site(site):
    """Oracle: the files; Sphinx itself warns of a page that no table of contents names."""
    for path in (ROOT / "docs").rglob("*.md"):
        assert (site / path.relative_to(ROOT / "docs").with_suffix(".html")).exists(), path


@needs_docs
def test_public_names_lead_to_their_source(pages, site):
    """Oracle: nplm.__all__, and the line of the source that the link leads to."""
    api = {path: page for path, page in pages.items() if path.parent == site / "api"}
    anchors = set().union(*(page.anchors for page in api.values()))
    assert {f"nplm.{name}" for name in nplm.__all__} <= anchors
    model = api[site / "api" / "model.html"]
    assert not {"scoring.html#nplm.Model.path", "scoring.html#nplm.State"} & set(model.links)
    link = next(link for page in api.values() for link in page.links if "model.py.html#L-" in link)
    line = (ROOT / "nplm" / "model.py").read_text(encoding="utf-8").splitlines()[int(link.rpartition("-")[2]) - 1]
    assert re.match(r"\s*(@|class |def )", line)


@needs_docs
def test_equations_lead_to_their_lines(pages, site):
    """Oracle: the source: the line that a label's link leads to cites the label."""
    html = (site / "learn" / "nce.html").read_text(encoding="utf-8")
    row = re.search(r'<p class="in-code">(.*?)</p>', html, re.S)[1]
    found = re.findall(r"\[(N\d)\]|source/(\S+)\.html#L-(\d+)", row)
    label, checked = "", 0
    for name, file, line in found:
        label = name or label
        if file:
            assert f"[{label}]" in (ROOT / file).read_text(encoding="utf-8").splitlines()[int(line) - 1]
            checked += 1
    assert checked >= 6 and label == "N3"


@needs_docs
def test_formulas_are_mathml(pages, site):
    """Oracle: no dollar sign and no backslash of a formula is left in a page that has formulas."""
    html = (site / "learn" / "rnn.html").read_text(encoding="utf-8")
    text = re.sub(r"<(pre|math|style|script)\b.*?</\1>", "", html, flags=re.S)
    assert html.count("<math") > 5 and "$" not in text and "\\" not in text


def test_faults_are_found(tmp_path):
    """Planted: a dead link, a dead anchor, a link out of the site, a script and a font of another host."""
    (tmp_path / "a.html").write_text(
        '<p id="here"><a href="#here">x</a><a href="b.html#gone">x</a><a href="gone.html">x</a><a href="../x">x</a>'
        '<a href="https://example.org">x</a><script src="https://example.org/x.js"></script></p>'
    )
    (tmp_path / "b.html").write_text('<img src="x.png"><a name="there"></a><a href="a.html#here">x</a>')
    (tmp_path / "c.css").write_text("@font-face { src: url('//example.org/font.woff2') } a { background: url(x.png) }")
    pages = read(tmp_path)
    assert broken(pages, tmp_path) == ["a.html: b.html#gone", "a.html: gone.html", "a.html: ../x"]
    assert foreign(pages, tmp_path) == ["a.html: https://example.org/x.js", "c.css: //example.org/font.woff2"]
