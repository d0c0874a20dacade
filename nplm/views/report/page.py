"""The page of a report: one HTML file, with its style, its script and its charts inside.

It fetches nothing, and its Content-Security-Policy forbids all requests: style and script are admitted by their
hashes.  Without the script the page is complete except for keyboard navigation of the words.  All text from files is
escaped, and put only into the text of elements or into quoted attributes.
"""

import base64
import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files

from nplm.views.metrics_log import History
from nplm.views.report.charts import bar_chart, share_bar
from nplm.views.report.measurement import Measurement
from nplm.views.report.numbers import number, short
from nplm.views.report.training import training_section
from nplm.views.report.words import words_section

ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><rect width="16" height="16" rx="3" fill="#1f5d8c"/>'
    '<path d="M3 12V9h2v3zm4 0V4h2v8zm4 0V7h2v5z" fill="#fff"/></svg>'
)

Rows = Iterable[tuple[str, str]]


def render(
    found: Measurement,
    words: Sequence[str],
    *,
    text: str,
    model: str,
    summary: str,
    settings: Mapping[str, Rows],
    best_epoch: int | None = None,
    history: History | None = None,
) -> str:
    """The page as HTML.  The same arguments give the same bytes.

    words: the text's first tokens, as many as there are surprisals in `found`.  text, model: names of the files.
    summary: a line about the model.  settings: tables of names and values, by caption.
    """
    sections = {
        "frequency": ("Perplexity by word frequency", _frequency(found)),
        "normalisation": ("Normalisation", _normalisation(found)),
        "training": ("Training", training_section(history, best_epoch)),
        "configuration": ("Configuration", _configuration(settings)),
        "text": ("The text, word by word", words_section(found, words)),
    }
    style, script = (files("nplm.views.report").joinpath(f"page.{kind}").read_text("utf-8") for kind in ("css", "js"))
    policy = (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; img-src data:;"
        " base-uri 'none'; form-action 'none'"
    )
    links = "".join(f'<li><a href="#{key}">{title}</a></li>' for key, (title, _) in sections.items())
    body = "".join(
        f'<section id="{key}" aria-labelledby="{key}-title"><h2 id="{key}-title">{title}</h2>\n{content}</section>\n'
        for key, (title, content) in sections.items()
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>{escape(text)}, read by {escape(model)}</title>
<link rel="icon" href="data:image/svg+xml;base64,{base64.b64encode(ICON.encode()).decode()}">
<style>{style}</style>
</head>
<body>
<main>
<header>
<p class="eyebrow">Language model report</p>
<h1>{escape(text)}</h1>
<p class="lede">Read by <code>{escape(model)}</code>: {escape(summary)}.</p>
{_figures(found)}
<nav aria-label="Sections"><ul>{links}</ul></nav>
</header>
{body}<footer>
<p class="note">Made by <code>nplm report</code>. Everything on this page is in this one file.</p>
</footer>
</main>
<div id="tip" role="status"></div>
<script>{script}</script>
</body>
</html>
"""


# ---- figures, configuration


def _figures(found: Measurement) -> str:
    """The summary figures of the text."""
    e = found.evaluation
    state = "zero at every sentence" if e.state == "reset" else "carried through the text"
    ratio = found.unigram_perplexity / e.perplexity if e.perplexity > 0 else math.nan
    rows = [
        ("Perplexity", number(e.perplexity), f"exact, over {e.tokens:,} tokens; state {state}"),
        ("Surprisal", f"{number(e.nats / math.log(2))} bits", "per token, on average"),
        ("Unigram perplexity", number(found.unigram_perplexity), f"{number(ratio, 1)} times the model's"),
        ("Unknown words", f"{e.oovs:,}", f"{e.oovs / e.tokens:.1%} of the tokens; counted as <unk>"),
        ("Sentences", f"{e.sentences:,}", "each end is predicted and counted"),
        ("log Z", number(e.mean_log_z, 3), f"mean, in nats; sd {number(e.std_log_z, 3)}; 0 means normalised"),
    ]
    cells = "".join(
        f'<div><dt>{name}</dt><dd class="value">{value}</dd><dd class="more">{escape(more)}</dd></div>'
        for name, value, more in rows
    )
    return f'<dl class="figures">{cells}</dl>'


def _configuration(settings: Mapping[str, Rows]) -> str:
    """A table for each caption."""
    tables = []
    for caption, rows in settings.items():
        cells = "".join(f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>' for name, value in rows)
        tables.append(f"<table><caption>{escape(caption)}</caption><tbody>{cells}</tbody></table>")
    return f'<div class="settings">{"".join(tables)}</div>'


# ---- log Z, frequency


def _normalisation(found: Measurement) -> str:
    """The histogram of log Z, its moments and its quantiles."""
    e, counts, edges = found.evaluation, found.log_z_counts.tolist(), found.log_z_edges.tolist()
    outside = e.tokens - sum(counts)
    label = f"Histogram of log Z: mean {number(e.mean_log_z, 3)}, sd {number(e.std_log_z, 3)} nats"
    chart = bar_chart(label, "log Z, nats", counts, edges, e.mean_log_z)
    quantiles = [(f"{share} of positions below", value) for share, value in e.log_z_quantiles.items()]
    rows = "".join(
        f'<tr><th scope="row">{name}</th><td>{number(value, 3)}</td></tr>'
        for name, value in [("mean", e.mean_log_z), ("standard deviation", e.std_log_z), *quantiles]
    )
    note = f'<p class="note">Positions beyond the figure: {outside:,}.</p>' if outside else ""
    return (
        "<p>The model’s scores are log-probabilities up to log Z, which noise-contrastive estimation drives to"
        " zero. Perplexities and surprisals on this page are exact: log Z is subtracted.</p>"
        f'<div class="charts"><figure><figcaption><strong>log Z over the text</strong>positions for every'
        f" {number(edges[1] - edges[0], 4)} nats; solid line: the mean, dashed line: zero</figcaption>{chart}</figure>"
        f"<div><table><caption>log Z, nats</caption><tbody>{rows}</tbody></table>{note}</div></div>"
    )


def _frequency(found: Measurement) -> str:
    """A row for every band of words seen about equally often."""
    total = found.evaluation.nats * found.evaluation.tokens
    heads = ("Seen in training", "Tokens", "Perplexity", "Unigram", "Share of nats")
    head = "".join(f'<th scope="col">{name}</th>' for name in heads)
    rows = []
    for band in found.bands:
        share = band.nats / total if total > 0 else 0.0
        rows.append(
            f'<tr><th scope="row">{escape(band.name)}</th><td>{band.tokens:,}</td><td>{short(band.perplexity)}</td>'
            f"<td>{short(band.unigram_perplexity)}</td><td>{share:.1%}{share_bar(share)}</td></tr>"
        )
    e = found.evaluation
    foot = (
        f'<tr><th scope="row">All</th><td>{e.tokens:,}</td><td>{short(e.perplexity)}</td>'
        f"<td>{short(found.unigram_perplexity)}</td><td>100.0%</td></tr>"
    )
    return (
        "<p>Each row is for the tokens of the text whose word was seen that often in training. Its perplexity is"
        " exp(their nats / their number); the other words are read, but not counted. The nats of all rows add up"
        f" to those of the text. Unigram: the same for the training counts alone.</p>"
        f'<div class="wide scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody>'
        f"<tfoot>{foot}</tfoot></table></div>"
    )


def _hash(text: str) -> str:
    """The hash by which a Content-Security-Policy admits the text."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
