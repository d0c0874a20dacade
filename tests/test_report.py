"""Oracles: exact log_probs of the float64 twin, `evaluate`, NumPy's histogram, the HTML parser, WCAG, a browser."""

import base64
import gzip
import hashlib
import io
import json
import math
import os
import re
import select
import shutil
import signal
import sys
import time
from html.parser import HTMLParser
from importlib.resources import files
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import make_model

import nplm.views.report.measurement as measuring
from nplm.cli.report import command
from nplm.data.corpus import unigram_perplexity
from nplm.data.vocabulary import Vocabulary
from nplm.errors import InputError
from nplm.scoring.evaluate import evaluate
from nplm.scoring.score import word_scores
from nplm.storage.checkpoint import save_model
from nplm.views.metrics_log import History
from nplm.views.report import charts, measure, numbers, render
from nplm.views.report import words as words_part

EVIL = "<script>alert(1)</script>"
LINES = [f"w2 w5 {EVIL} w3", "", "w9 </script> w9 &amp; w4 \"'><img/src=x>", f"w7 {'long' * 60}"]
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="module")
def model():
    return make_model(vocab=23)


@pytest.fixture(scope="module")
def ids(model):
    """A text that has every word, sentences of all lengths, empty ones too, and no </s> at its end."""
    rng = np.random.default_rng(3)
    ids = rng.integers(0, model.config.vocab_size, 400, np.int32)
    ids[rng.random(400) < 0.2] = model.vocabulary.eos
    ids[50:90] = 5  # a sentence longer than a piece
    ids[-1] = 4
    return ids


@pytest.fixture
def folder(tmp_path, model, monkeypatch):
    """A folder with a run, three epochs long, and a text; the tests work in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    settings = {"train": {"lr": 20.0, "bptt": 5}, "corpus": EVIL, "epoch": 3}
    save_model(model, "run/best.safetensors", settings)
    lines = "".join(json.dumps(line) + "\n" for line in metrics(3))
    (tmp_path / "run" / "metrics.jsonl").write_text(lines)
    (tmp_path / "test.txt").write_text("\n".join(LINES) + "\n")
    return tmp_path


def metrics(epochs):
    """Lines of metrics.jsonl."""
    for epoch in range(1, epochs + 1):
        for kind, chunk in (("train", 10), ("train", 20), ("valid", 0)):
            done = 100 * epoch - (50 if chunk == 10 else 0)
            line = {"kind": kind, "epoch": epoch, "chunk": chunk, "tokens_trained": done, "seconds": done / 50}
            more = {"loss": 5.0 / epoch, "perplexity": 90.0 / epoch, "mean_log_z": 0.1 - 0.1 * epoch, "std_log_z": 0.2}
            yield line | {"tokens_per_second": 50.0} | more


def history(epochs):
    lines = list(metrics(epochs))
    return History([x for x in lines if x["kind"] == "train"], [x for x in lines if x["kind"] == "valid"])


def run(capsys, *args):
    """The command's stdout and stderr."""
    capsys.readouterr()
    command.main([*args], standalone_mode=False)
    return capsys.readouterr()


class Page(HTMLParser):
    """A page's start tags, its text, and what is wrong with its nesting."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.open, self.text, self.inside = [], [], [], {"style": "", "script": ""}
        self.words = []  # (attributes, text) of the text's words
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        assert len(dict(attrs)) == len(attrs), "an attribute stands twice"
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "link"):
            self.open.append(tag)
        if "w" in dict(attrs).get("class", "").split():
            self.words.append([dict(attrs), ""])

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in self.inside:
            self.inside[self.open[-1]] += data
        else:
            self.text.append(data)
            if self.words and self.open[-1:] == ["span"]:
                self.words[-1][1] += data

    def attributes(self, name):
        return [attrs[name] for _, attrs in self.tags if name in attrs]


def make_page(model, words, **more):
    found = measure(model, model.vocabulary.encode(words), shown=len(words))
    names = {"text": EVIL, "model": f"{EVIL}.safetensors", "summary": "a model & more"}
    return render(found, words, **names, settings={EVIL: [("x", EVIL)]}, history=history(3), **more)


# ---- measurement


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("piece", [7, 2**16])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_figures_are_those_of_evaluate(ids, reset, piece, dtype, monkeypatch):
    """`evaluate` with one stream, and the unigram perplexity of corpus.py; pieces change nothing."""
    model = make_model(dtype, vocab=23)
    monkeypatch.setattr(measuring, "PIECE", piece)
    found, expected = measure(model, ids, reset=reset), evaluate(model, ids, batch_size=1, reset=reset)
    for name, value in expected.as_dict().items():
        if isinstance(value, float):
            assert getattr(found.evaluation, name) == pytest.approx(value, rel=1e-6, abs=1e-6), name
        elif name != "log_z_quantiles":
            assert getattr(found.evaluation, name) == value
    assert found.unigram_perplexity == pytest.approx(unigram_perplexity(model.vocabulary, ids), rel=1e-12)


def test_surprisals_are_exact(model, ids):
    """log_probs of the float64 model, word by word; the text goes on after what is shown."""
    found = measure(model, ids, shown=100)
    logp, _ = model.log_probs(np.concatenate([[1], ids[:99]])[:, None], model.zero_state(1))
    exact = -logp[np.arange(100), 0, ids[:100]] / np.log(2)
    np.testing.assert_allclose(found.surprisals, exact, rtol=1e-10)
    np.testing.assert_array_equal(found.ids, ids[:100])
    np.testing.assert_array_equal(found.counts, model.vocabulary.counts[ids[:100]])
    assert found.evaluation.tokens == 400
    with pytest.raises(InputError, match="no tokens"):
        measure(model, ids[:0])


def test_bands_add_up(model, ids):
    """Sums word by word, and the number of digits of a count."""
    found = measure(model, ids)
    scores, log_z = word_scores(model, ids)
    sums = {}
    for k, nats in zip(ids.tolist(), log_z - scores, strict=True):
        count = int(model.vocabulary.counts[k])
        low = 10 ** (len(str(count)) - 1)
        name = {0: "<unk>", 1: "</s>"}.get(k, f"{low:,}–{10 * low - 1:,}")
        tokens, total = sums.get(name, (0, 0.0))
        sums[name] = tokens + 1, total + nats
    assert {band.name: band.tokens for band in found.bands} == {name: n for name, (n, _) in sums.items()}
    for band in found.bands:
        n, nats = sums[band.name]
        assert band.nats == pytest.approx(nats, rel=1e-12)
        assert band.perplexity == pytest.approx(math.exp(nats / n), rel=1e-12)
    total = found.evaluation.nats * found.evaluation.tokens
    assert sum(band.nats for band in found.bands) == pytest.approx(total, rel=1e-12)
    assert sum(band.tokens for band in found.bands) == ids.size


def test_bands_of_rare_counts():
    """Counts at the edges of the bands, and a word that was never seen."""
    vocabulary = Vocabulary(["<unk>", "</s>", *"abcdef"], [5, 7, 1000, 999, 10, 9, 1, 0])
    names, band_of = measuring.frequency_bands(vocabulary)
    assert names == ["<unk>", "0", "1–9", "10–99", "100–999", "1,000–9,999", "</s>"]
    assert [names[k] for k in band_of[2:]] == ["1,000–9,999", "100–999", "10–99", "1–9", "1–9", "0"]


@pytest.mark.parametrize("scale", [0.0, 0.02, 0.7, 3.0])
def test_histogram_of_log_z(ids, scale):
    """NumPy's histogram of log Z; at most a thousandth lies outside."""
    model = make_model(vocab=23, scale=scale)
    found = measure(model, ids)
    assert 1 <= found.log_z_counts.size <= measuring.HISTOGRAM_BARS + 1
    expected, _ = np.histogram(word_scores(model, ids)[1], found.log_z_edges)
    np.testing.assert_array_equal(found.log_z_counts, expected)
    assert ids.size - found.log_z_counts.sum() <= 1e-3 * ids.size + 1e-9


def test_text_of_files_and_pipes(folder, model, monkeypatch):
    """The lines themselves; a pipe gives what the file gives."""
    content = (folder / "test.txt").read_bytes()
    (folder / "test.txt.gz").write_bytes(gzip.compress(content))
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content)))
    expected = [word for line in LINES for word in (*line.split(), "</s>")]
    for name in ("test.txt", "test.txt.gz", "-"):
        ids, words, _ = measuring.read_text(name, model.vocabulary, 7)
        np.testing.assert_array_equal(ids, model.vocabulary.encode(expected))
        assert words == expected[:7]
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"foreign\n")))
    with pytest.raises(InputError, match="standard input: none of its words"):
        measuring.read_text("-", model.vocabulary, 7)


# ---- the page


def test_page_is_inert_and_whole(model):
    """The HTML parser: nothing from outside, what came from files is text, style and script are the ones admitted."""
    words = [word for line in LINES for word in (*line.split(), "</s>")]
    html = make_page(model, words)
    got = Page(html)
    assert [tag for tag, _ in got.tags].count("script") == 1 and "img" not in {tag for tag, _ in got.tags}
    policy = next(a["content"] for _, a in got.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none';")
    for kind, name in (("style", "page.css"), ("script", "page.js")):
        assert got.inside[kind] == files("nplm.views.report").joinpath(name).read_text("utf-8")
        digest = base64.b64encode(hashlib.sha256(got.inside[kind].encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    ids = got.attributes("id")
    assert len(ids) == len(set(ids))
    for link in got.attributes("href"):
        assert link.startswith("data:image/svg+xml;base64,") or link.removeprefix("#") in ids
    for label in got.attributes("aria-labelledby"):
        assert label in ids
    names = {name for _, attrs in got.tags for name in attrs}
    assert not names & {"src", "srcset", "style", "action", "data"}
    assert not [name for name in names if name.startswith("on")]
    assert not re.search(r"url\(|@import|https?:|//[a-z]", re.sub(r"^\s*//.*", "", html, flags=re.M))
    assert {tag: attrs for tag, attrs in got.tags}["html"] == {"lang": "en"}
    assert f"{EVIL}, read by {EVIL}.safetensors" in got.text  # the title
    assert {"main", "header", "footer", "nav", "section", "h1", "table", "caption"} <= {tag for tag, _ in got.tags}
    assert make_page(model, words) == html


def test_words_and_their_values(model):
    """The words of the text, and [B1] printed."""
    words = [word for line in LINES for word in (*line.split(), "</s>")]
    ids = model.vocabulary.encode(words)
    scores, log_z = word_scores(model, ids)
    shown = Page(make_page(model, words)).words
    assert [text.replace("↵", "</s>") for _, text in shown] == words
    for (attrs, _), k, nats in zip(shown, ids.tolist(), log_z - scores, strict=True):
        bits, classes = nats / math.log(2), attrs["class"].split()
        assert attrs["data-t"].startswith(f"{bits:.2f} bits\n")
        assert ("u" in classes, "e" in classes) == (k == 0, k == 1)
        level = int(classes[1].removeprefix("s"))
        assert ([0.0, *words_part.LEVELS][level] <= bits) and (level == 7 or bits < words_part.LEVELS[level])
        seen = "scored as <unk>" if k == 0 else f"{model.vocabulary.counts[k]:,} times in training"
        assert attrs["data-t"].endswith(seen)
    assert [attrs.get("tabindex") for attrs, _ in shown] == ["0", *[None] * (len(words) - 1)]


def test_figures_on_the_page(model, ids):
    """The measurement itself; a cut text says so."""
    found = measure(model, ids, shown=10)
    words = model.vocabulary.decode(ids[:10])
    html = render(found, words, text="a", model="b", summary="c", settings={})
    text = " ".join(Page(html).text)
    e = found.evaluation
    assert f"{e.perplexity:,.2f}" in text and f"over {e.tokens:,} tokens" in text
    assert f"{found.unigram_perplexity:,.2f}" in text and f"sd {e.std_log_z:.3f}" in text
    assert "The first 10 of 400 tokens are shown" in text
    assert "There are no metrics next to the model" in text and "<polyline" not in html
    for band in found.bands:
        digits = 2 if band.perplexity < 1000 else 0
        assert f"{band.tokens:,}" in text and f"{band.perplexity:,.{digits}f}" in text


def test_runs_that_have_little_to_show(model, ids):
    """Curves for what there is: one epoch, no valid text, no epoch finished, figures that are not finite."""
    found = measure(model, ids, shown=3)
    words = model.vocabulary.decode(ids[:3])
    full, none = history(1), [{"epoch": 1, "tokens_trained": 100, "seconds": 2.0}]
    broken = [line | {"loss": None} for line in full.train]
    for lines, curves in (
        (full, 4),
        (History(full.train, none), 2),
        (History(full.train, []), 2),
        (History(broken, none), 1),
        (History([], none), 0),
    ):
        html = render(found, words, text="a", model="b", summary="c", settings={}, history=lines)
        assert html.count("<polyline") == curves and "nan" not in html
    model = make_model(vocab=23)
    model.params["decoder.bias"][:] = np.nan
    html = render(measure(model, ids, shown=3), words, text="a", model="b", summary="c", settings={})
    assert "not defined" in html and "nan" not in html


def luminance(colour):
    """WCAG 2's relative luminance of #rrggbb."""
    parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a, b):
    low, high = sorted([luminance(a), luminance(b)])
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("dark", [False, True])
def test_colours_can_be_read(dark):
    """WCAG 2: 4.5 for text, 3 for lines; the shades go one way in luminance, so they need no sense of hue."""
    schemes = re.findall(r":root \{(.*?)\}", files("nplm.views.report").joinpath("page.css").read_text("utf-8"), re.S)
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", schemes[dark]))
    assert len(schemes) == 2
    for ink in ("ink", "muted", "accent"):
        assert contrast(colours[ink], colours["paper"]) >= 4.5
    assert contrast(colours["tip"], colours["tip-ink"]) >= 4.5
    shades = [colours[f"s{k}"] for k in range(8)]
    assert all(contrast(shade, colours[f"t{k}"]) >= 4.5 for k, shade in enumerate(shades))
    assert shades[0] == colours["paper"]
    order = [luminance(shade) for shade in shades]
    assert order == sorted(order, reverse=not dark) and len(set(order)) == 8


def test_charts_stay_in_their_frame():
    """The viewBox, for values large, small, negative, equal and single."""
    for ys in ([1e6, 3e6], [1e-6, 2e-6], [-3.0, -1.0], [5.0, 5.0, 5.0], [0.0], [math.nan, 2.0], [-0.2, 0.3]):
        points = [(k + 1.0, y) for k, y in enumerate(ys)]
        svg = charts.line_chart("a", "b", points, dots=True, spread=[0.1] * len(ys), include=(0.0,))
        assert "nan" not in svg
        Page(svg)
        places = re.findall(r"([-\d.]+),([-\d.]+)", " ".join(re.findall(r'points="([^"]*)"', svg)))
        assert places and all(0 <= float(x) <= charts.WIDTH and 0 <= float(y) <= charts.HEIGHT for x, y in places)
        assert len(re.findall('text-anchor="end"', svg)) >= 2
    many = [(k / 1000, 1.0 + k % 2) for k in range(1000)]
    path = re.search(r'<polyline[^>]*points="([^"]*)"', charts.line_chart("a", "b", many))[1]
    assert len(path.split()) <= charts.MOST_POINTS


@pytest.mark.parametrize("span, step", [(1, 1), (1.01, 2), (2.4, 2.5), (0.03, 0.05), (7e5, 1e6)])
def test_ticks_are_round(span, step):
    """1, 2, 2.5 and 5 times powers of ten."""
    assert charts.round_step(span) == pytest.approx(step)


def test_numbers_for_people():
    """By hand."""
    assert [numbers.number(x) for x in (1234.5, -0.5, math.nan, math.inf)] == ["1,234.50", "−0.50", "not defined", "∞"]
    assert [numbers.chance(x) for x in (0, 1, 10, 50)] == [
        "probability 100%",
        "probability 50%",
        "1 in 1,024",
        "1 in 2^50",
    ]
    assert [numbers.chance(x) for x in (math.inf, math.nan)] == ["probability 0", "probability not defined"]


# ---- the command


def test_command(folder, model, capsys):
    """The file it writes, and `evaluate` of the text; a folder, its model, and the model alone."""
    ids, _, size = measuring.read_text("test.txt", model.vocabulary, 1)
    got = run(capsys, "run", "--text", "test.txt", "--json")
    figures = json.loads(got.out)
    expected = evaluate(model, ids, size=size, batch_size=1)
    assert figures["perplexity"] == pytest.approx(expected.perplexity, rel=1e-9)
    assert figures["bits_per_byte"] == pytest.approx(expected.bits_per_byte, rel=1e-9)
    assert sum(band["nats"] for band in figures["bands"]) == pytest.approx(expected.nats * ids.size)
    assert "wrote report.html" in got.err
    html = (folder / "report.html").read_text("utf-8")
    assert html.count("<polyline") == 4 and "The model is that of epoch 3." in html
    assert len(Page(html).words) == ids.size

    got = run(capsys, "run/best.safetensors", "--text", "test.txt", "-o", "-", "--reset", "--tokens", "4")
    assert got.out.startswith("<!DOCTYPE html>") and got.out.count("<polyline") == 4
    assert len(Page(got.out).words) == 4 and "zero at every sentence" in got.out

    (folder / "run" / "best.safetensors").rename(folder / "alone.safetensors")
    got = run(capsys, "alone.safetensors", "--text", "test.txt", "-o", "x.html")
    assert f"{expected.perplexity:,.2f}" in got.out
    assert "<polyline" not in (folder / "x.html").read_text("utf-8")
    assert not list(folder.glob(".*"))


@pytest.mark.parametrize(
    "args, message",
    [
        (["run", "--text", "gone.txt"], r"gone\.txt: no such file"),
        (["gone", "--text", "test.txt"], "gone: cannot be read"),
        (["run", "--text", "test.txt", "-o", "run"], "run: a folder; name the file"),
        (["run", "--text", "test.txt", "-o", "no/a.html"], "no: no such folder"),
        (["run", "--text", "test.txt", "-o", "-", "--json"], "both write to standard output"),
    ],
)
def test_mistakes(folder, args, message):
    """One line that names what is wrong; nothing is written."""
    before = sorted(folder.rglob("*"))
    with pytest.raises(InputError, match=message) as caught:
        command.main(args, standalone_mode=False)
    assert "\n" not in str(caught.value) and sorted(folder.rglob("*")) == before


# ---- a browser


class Browser:
    """A headless browser, spoken to in the DevTools protocol over a pipe."""

    def __init__(self, profile):
        to_read, self.writer = os.pipe()
        self.reader, to_write = os.pipe()
        flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
        flags += f" --disable-component-update --disable-sync --remote-debugging-pipe --user-data-dir={profile}"
        actions = [(os.POSIX_SPAWN_DUP2, to_read, 3), (os.POSIX_SPAWN_DUP2, to_write, 4)]  # where it listens
        actions += [(os.POSIX_SPAWN_OPEN, k, os.devnull, os.O_WRONLY, 0) for k in (1, 2)]
        command = [BROWSER, *flags.split(), "about:blank"]
        self.process = os.posix_spawn(BROWSER, command, os.environ, file_actions=actions)
        os.close(to_read)
        os.close(to_write)
        self.events, self.left, self.number, self.session = [], b"", 0, None

    def __enter__(self):
        target = self("Target.createTarget", url="about:blank")["targetId"]
        self.session = self("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self(f"{domain}.enable")
        return self

    def __exit__(self, *error):
        os.kill(self.process, signal.SIGKILL)
        os.waitpid(self.process, 0)
        os.close(self.reader)
        os.close(self.writer)

    def __call__(self, method, **params):
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        os.write(
            self.writer, json.dumps(message | ({"sessionId": self.session} if self.session else {})).encode() + b"\0"
        )
        while (got := self.message()).get("id") != self.number:
            self.events.append(got)
        assert "error" not in got, got
        return got["result"]

    def message(self):
        deadline = time.monotonic() + 30
        while b"\0" not in self.left:
            assert select.select([self.reader], [], [], max(deadline - time.monotonic(), 0))[0], "no answer"
            piece = os.read(self.reader, 2**16)
            assert piece, "the browser has ended"
            self.left += piece
        line, _, self.left = self.left.partition(b"\0")
        return json.loads(line)

    def open(self, url):
        self("Page.navigate", url=url)
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self.message())

    def value(self, expression):
        return self("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def key(self, name):
        for kind in ("keyDown", "keyUp"):
            self("Input.dispatchKeyEvent", type=kind, key=name, code=name)


@pytest.mark.skipif(BROWSER is None or os.name != "posix", reason="no chromium on this machine")
def test_in_a_browser(folder, capsys, tmp_path_factory):
    """Chromium on a phone and a desktop, light and dark: nothing overflows, complains or is requested; keys walk."""
    run(capsys, "run", "--text", "test.txt")
    url, papers = (folder / "report.html").as_uri(), set()
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        browser.open(url)
        for width, height in ((360, 740), (1280, 900)):
            for scheme in ("light", "dark"):
                features = [{"name": "prefers-color-scheme", "value": scheme}]
                size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
                browser("Emulation.setDeviceMetricsOverride", **size)
                browser("Emulation.setEmulatedMedia", media="", features=features)
                assert browser.value("innerWidth") == width >= browser.value("document.documentElement.scrollWidth")
                papers.add((scheme, browser.value("getComputedStyle(document.body).backgroundColor")))
        assert len(papers) == 2
        browser.value("document.querySelector('.w').focus()")
        for name in ("ArrowRight", "ArrowRight", "ArrowDown", "ArrowDown", "ArrowRight"):
            browser.key(name)
        shown = browser.value("[document.activeElement.textContent, document.getElementById('tip').textContent]")
        assert shown[0] == "</script>" and shown[1].startswith("</script>: ") and "bits" in shown[1]
        browser.key("Escape")
        assert browser.value("getComputedStyle(document.getElementById('tip')).visibility") == "hidden"
        events = [(event.get("method"), event.get("params", {})) for event in browser.events]
    requests = {params["request"]["url"] for name, params in events if name == "Network.requestWillBeSent"}
    assert {link for link in requests if not link.startswith("data:")} == {url}
    assert not [e for e in events if e[0] in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")]
