"""`nplm info`: show what a model file or the folder of a run contains."""

from pathlib import Path
from typing import Any

import click

EPILOG = """\b
Examples:
  nplm info run/best.safetensors
  nplm info run --json
"""


@click.command("info", epilog=EPILOG, short_help="Show what a model file or a run's folder contains.")
@click.argument("model", metavar="MODEL|RUN-FOLDER")
@click.option("--json", "as_json", is_flag=True, help="Contents as JSON on stdout.")
def command(model: str, as_json: bool) -> None:
    """Show configuration, vocabulary, parameters and provenance of a model or a run."""
    from nplm.cli.output import emit
    from nplm.storage.checkpoint import model_file

    figures = describe(model_file(model))
    if (Path(model) / "config.json").is_file():
        figures["run"] = _describe_run(Path(model))
    _report(figures, as_json)
    if as_json:
        emit(figures)


def describe(path: Path) -> dict[str, Any]:
    """The contents of a model file."""
    from dataclasses import asdict

    from nplm.data.units import describe as describe_unit
    from nplm.storage.checkpoint import load_model, provenance, split_provenance

    model = load_model(path)
    record, other = split_provenance(provenance(path))
    return {
        "file": str(path),
        "bytes": path.stat().st_size,
        "config": asdict(model.config),
        "unit": describe_unit(model.unit),
        "vocabulary": len(model.vocabulary),
        "tokens_counted": int(model.vocabulary.counts.sum()),
        "parameters": sum(value.size for value in model.params.values()),
        "dtype": str(model.dtype),
        "corpus": record.get("corpus"),
        "epoch": record.get("epoch"),
        "valid": record.get("valid"),
        "mean_log_z": model.mean_log_z,
        "train": record.get("train"),
        "products": record.get("products"),
        "nplm": record.get("nplm"),
        "other": other,
    }


def _describe_run(folder: Path) -> dict[str, Any]:
    from dataclasses import asdict

    from nplm.storage.checkpoint import load_run
    from nplm.training.resuming import check_progress
    from nplm.training.run_config import read_config

    record = read_config(folder)
    figures: dict[str, Any] = {"folder": str(folder), "source": record["source"]}
    if (folder / "last.safetensors").is_file():
        last = folder / "last.safetensors"
        progress = asdict(check_progress(load_run(last)[1], str(last)))
        figures |= {name: progress[name] for name in ("epoch", "chunk", "best_epoch", "lr", "tokens", "seconds")}
        figures["epochs"] = record["train"].get("epochs")
        figures["stopped_early"] = progress["stopped"]
    return figures


def _report(figures: dict[str, Any], as_json: bool) -> None:
    from nplm.cli.output import Rows, show

    config, valid = figures["config"], figures["valid"]
    rows: Rows = [
        (
            "model",
            f"{config['num_layers']} LSTM layer(s) of {config['hidden_dim']} units, word vectors of dimension"
            f" {config['embed_dim']}, {figures['dtype']}",
        ),
        ("unit", "  ".join(figures["unit"].values())),
        ("vocabulary", f"{figures['vocabulary']:,} words, {figures['tokens_counted']:,} tokens counted"),
        ("parameters", f"{figures['parameters']:,} ({figures['bytes'] / 1e6:.1f} MB)"),
        ("noise", f"unigram^{config['noise_power']:g}, uniform share {config['noise_uniform']:.3g}"),
        ("corpus", str(figures["corpus"] or "unknown")),
        ("written by", f"nplm {figures['nplm']}" if figures["nplm"] else "unknown"),
    ]
    if figures["epoch"]:
        rows.append(("epoch", str(figures["epoch"])))
    if valid:
        rows.append(("validation perplexity", f"{valid['perplexity']:,.2f} ({valid['tokens']:,} tokens)"))
        rows.append(("log Z mean, sd", f"{valid['mean_log_z']:+.4f}, {valid['std_log_z']:.4f} nats"))
    if figures["products"]:
        rows.append(("matrix products", "{precision}, computed with {maker}".format(**figures["products"])))
    if figures["train"]:
        settings = "  ".join(f"{name}={value}" for name, value in figures["train"].items())
        rows.append(("trained with", settings))
    rows += [(name, str(value)) for name, value in figures["other"].items()]
    run = figures.get("run")
    if run and "epoch" in run:
        rows.append(("run", f"{run['epoch']} of {run['epochs']} epochs and {run['chunk']} chunks are done"))
    show(figures["file"], rows, as_json)
