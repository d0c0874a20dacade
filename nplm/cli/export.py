"""`nplm export`: convert a model for other programs."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nplm.cli.common import check_output
from nplm.cli.output import say
from nplm.errors import InputError

if TYPE_CHECKING:
    from nplm.model import LanguageModel

FORMATS = ("torch", "onnx", "word2vec", "word2vec-binary", "folder")
EPILOG = """\b
Examples:
  nplm export run --to torch -o model-torch.safetensors
  nplm export run/best.safetensors --to onnx -o model.onnx
  nplm export run --to word2vec -o vectors.txt --layer output
  nplm export run --to folder -o model
"""


@click.command("export", epilog=EPILOG, short_help="Export a model to PyTorch, ONNX, word2vec, or a folder.")
@click.argument("model")
@click.option("--to", "form", type=click.Choice(FORMATS), required=True, help="Format to write.")
@click.option("-o", "--output", metavar="PATH", required=True, help="File, or new folder, to write.")
@click.option(
    "--layer",
    type=click.Choice(("input", "output")),
    help="word2vec: the input embeddings (default), or the output embeddings.",
)
def command(model: str, form: str, output: str, layer: str | None) -> None:
    """Convert MODEL, a file or a run's folder, for other programs.

    \b
    torch            .safetensors for load_state_dict(strict=True)
    onnx             graph with the state as input and output; needs: pip install 'nplm-nce[onnx]'
    word2vec         word vectors as text; word2vec-binary: the same in binary, float32
    folder           config.json, model.safetensors, vocab.txt, tokenizer.json
    """
    from nplm.storage.checkpoint import load_model, model_file

    check_output(output)
    path, target = model_file(model), Path(output)
    if layer and not form.startswith("word2vec"):
        raise InputError(f"--layer {layer} is for word2vec only; leave it out with --to {form}")
    if target.exists() and path.exists() and target.samefile(path):
        raise InputError(f"{output}: this is the model itself; name another file with -o")
    _writer(path, form, layer)(load_model(path), target)
    say(f"{output}: {_size(target):,} bytes")


def _writer(source: Path, form: str, layer: str | None) -> "Callable[[LanguageModel, Path], None]":
    from nplm import export
    from nplm.storage.checkpoint import provenance

    if form == "torch":
        return export.to_torch
    if form == "onnx":
        return export.to_onnx
    if form == "folder":
        return partial(export.to_folder, provenance=provenance(source))
    return partial(export.to_word2vec, binary=form == "word2vec-binary", layer=layer or "input")


def _size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    return sum(part.stat().st_size for part in (path.iterdir() if path.is_dir() else [path]))
