"""`nplm report`: an HTML page with the evaluation of a model on a text."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nplm.cli.common import open_model, reset_option, shown_option
from nplm.cli.output import Rows, emit, log_z_rows, perplexity_text, raw_text_rows, say, show
from nplm.errors import InputError

if TYPE_CHECKING:
    from nplm.model import LanguageModel
    from nplm.views.metrics_log import History
    from nplm.views.report import Measurement

EPILOG = """\b
Examples:
  nplm report run --text test.txt -o report.html
  nplm report run/best.safetensors --text a.txt --reset --tokens 500 -o a.html
  head -100 big.txt | nplm report run --text - -o head.html
"""


@click.command("report", epilog=EPILOG, short_help="Write an HTML report on a model and a text.")
@click.argument("run", metavar="RUN|MODEL")
@click.option("--text", metavar="FILE", required=True, help="Text to measure on; - is standard input.")
@shown_option("-o", "--output", metavar="FILE", default="report.html", help="HTML file to write; - is standard output.")
@shown_option(
    "--tokens",
    type=click.IntRange(1, 10**6),
    metavar="N",
    default=2000,
    help="Number of tokens to show; the whole text is measured.",
)
@reset_option
@click.option("--json", "as_json", is_flag=True, help="Figures as JSON on stdout.")
def command(run: str, text: str, output: str, tokens: int, reset: bool, as_json: bool) -> None:
    """Write a self-contained HTML page about RUN (the folder of a run, or a model file) and a text.

    It shows the exact perplexity, the configuration, the training curves, a histogram of log Z, the perplexity by
    word frequency, and the text with each word shaded by its surprisal.
    """
    from nplm.atomic import write
    from nplm.cli.reading import Watch
    from nplm.data.sources import text_name
    from nplm.storage.checkpoint import provenance, split_provenance
    from nplm.views.report import measure, render
    from nplm.views.report.measurement import read_text

    _check_place(output, as_json)
    path, model = open_model(run)
    record, other = split_provenance(provenance(path))
    history = _history(path)
    with Watch() as reading:
        ids, words, size = read_text(text, model.vocabulary, tokens, model.unit, reading)
    found = measure(model, ids, size=size, reset=reset, shown=tokens)
    page = render(
        found,
        words,
        text=text_name(text),
        model=text_name(path),
        summary=_summary(model),
        settings=_settings(model, record | {"other": other}),
        best_epoch=record.get("epoch"),
        history=history,
    )
    if output == "-":
        click.echo(page, nl=False)
    else:
        write(output, [page.encode()])
        say(f"wrote {output}")
    _report(found, text_name(text), as_json or output == "-")
    if as_json:
        emit(_figures(found) | {"model": str(path), "file": text, "output": output})


def _check_place(output: str, as_json: bool) -> None:
    """Raise InputError, before anything is measured, unless the page can be written there."""
    place = Path(output)
    if output == "-" and as_json:
        raise InputError("-o - and --json both write to standard output; name a file with -o")
    if place.is_dir():
        raise InputError(f"{place}: a folder; name the file of the page, as in -o {place / 'report.html'}")
    if not place.parent.is_dir():
        raise InputError(f"{place.parent}: no such folder; create it, or name another with -o")


def _history(model: Path) -> "History | None":
    """The metrics of the run whose folder the model file is in."""
    from nplm.views.metrics_log import read_history

    of_a_run = model.name in ("best.safetensors", "last.safetensors")
    metrics = model.parent / "metrics.jsonl"
    if not (of_a_run and metrics.is_file() and metrics.stat().st_size):
        return None
    return read_history(model.parent)


def _summary(model: "LanguageModel") -> str:
    """One line about the model's shape."""
    config = model.config
    size = sum(value.size for value in model.params.values())
    layers = "one LSTM layer" if config.num_layers == 1 else f"{config.num_layers} LSTM layers"
    return (
        f"{layers} of {config.hidden_dim} units, {config.vocab_size:,} word vectors of dimension {config.embed_dim},"
        f" {size:,} parameters"
    )


def _settings(model: "LanguageModel", record: dict[str, Any]) -> dict[str, Rows]:
    """Tables of the model's shape and of how it was trained, by caption."""
    from dataclasses import asdict, fields

    from nplm.config import TrainConfig

    tables = {"Model": [*_rows(asdict(model.config)), ("data type", str(model.dtype))]}
    made = {"corpus": record.get("corpus"), "written by nplm": record.get("nplm"), "best epoch": record.get("epoch")}
    made |= {"tokens counted": int(model.vocabulary.counts.sum())}
    if valid := record.get("valid"):
        made |= {"validation perplexity": round(valid["perplexity"], 2), "validation tokens": valid["tokens"]}
    tables["Provenance"] = _rows({name: value for name, value in made.items() if value is not None})
    tables["Provenance"] += [(name, str(value)) for name, value in record.get("other", {}).items()]
    if settings := record.get("train"):
        order = [field.name for field in fields(TrainConfig) if field.name in settings]
        tables["Training"] = _rows({name: settings[name] for name in order} | settings)
    return tables


def _rows(values: dict[str, Any]) -> Rows:
    return [(name.replace("_", " "), _plain(value)) for name, value in values.items()]


def _plain(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def _figures(found: "Measurement") -> dict[str, Any]:
    bands = [{"seen": b.name, "tokens": b.tokens, "nats": b.nats, "perplexity": b.perplexity} for b in found.bands]
    return found.evaluation.as_dict() | {"unigram_perplexity": found.unigram_perplexity, "bands": bands}


def _report(found: "Measurement", name: str, as_json: bool) -> None:
    e = found.evaluation
    counted = f"{e.tokens:,} tokens, {e.sentences:,} </s> counted, {e.oovs:,} <unk> counted"
    rows: Rows = [
        ("perplexity", f"{perplexity_text(e.perplexity)}   ({counted})"),
        ("unigram model", perplexity_text(found.unigram_perplexity)),
        *raw_text_rows(e.as_dict()),
        *log_z_rows(e.as_dict()),
    ]
    show(name, rows, as_json)
