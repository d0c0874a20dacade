"""`nplm import`: convert a model of PyTorch's word_language_model."""

import json
from typing import TYPE_CHECKING

import click

from nplm.cli.common import check_output, shown_option
from nplm.cli.output import say
from nplm.errors import InputError

if TYPE_CHECKING:
    from nplm.data.units import Unit

EPILOG = """\b
Examples:
  nplm import model.pt --vocab words.txt -o model.safetensors
  nplm import model.pt --vocab words.txt --eos '<eos>' --add-unk -o model.safetensors
  nplm import finetuned.safetensors -o model.safetensors
"""


@click.command("import", epilog=EPILOG, short_help="Convert a PyTorch LSTM language model to nplm's format.")
@click.argument("state_dict", metavar="STATE_DICT")
@click.option("-o", "--output", metavar="MODEL.safetensors", required=True, help="File to write.")
@click.option(
    "--vocab",
    metavar="FILE",
    help="The model's words in order, one per line, each followed by a tab and its count, if known.",
)
@click.option("--eos", metavar="WORD", help="The word that ends a sentence.  [default: </s> or <eos>]")
@shown_option("--unk", metavar="WORD", default="<unk>", help="The word for unknown words.")
@click.option("--add-unk", is_flag=True, help="Add a word for unknown words; its probability is practically zero.")
@click.option(
    "--unit", metavar="UNIT", help="Unit of the model, as in `nplm train --unit`.  [default: as the file says, or word]"
)
def command(
    state_dict: str, output: str, vocab: str | None, eos: str | None, unk: str, add_unk: bool, unit: str | None
) -> None:
    """Convert STATE_DICT, the parameters of an LSTM from PyTorch's word_language_model, to an nplm model.

    STATE_DICT is a .safetensors file, or a file written by torch.save(model.state_dict(), FILE); reading the latter
    needs PyTorch: pip install 'nplm-nce[torch]'. The words come from --vocab, or from STATE_DICT itself if `nplm export
    --to torch` wrote it.
    """
    from nplm._version import __version__
    from nplm.export import from_torch, read_state_dict, read_tokens
    from nplm.storage.checkpoint import save_model

    check_output(output)
    words = read_tokens(vocab) if vocab else None
    arrays, own_words = read_state_dict(state_dict)
    words = words or own_words
    if words is None:
        raise InputError(f"{state_dict}: it has no words; give them with --vocab, one per line, in the model's order")
    try:
        chosen = _unit(unit, words.unit)
        model = from_torch(arrays, words.words, words.counts, eos=eos, unk=unk, add_unk=add_unk, unit=chosen)
    except InputError as error:
        raise InputError(f"{state_dict}{f', {vocab}' if vocab else ''}: {error}") from error
    save_model(model, output, {"nplm": __version__, "corpus": f"that of {state_dict}"})
    if words.counts is None:
        say("the words have no counts: the noise distribution and the unigram model treat each word as seen once")
    config = model.config
    say(
        f"{output}: {config.num_layers} LSTM layer(s) of {config.hidden_dim} units,"
        f" {config.vocab_size:,} words, {model.dtype}"
    )


def _unit(given: str | None, found: str | None) -> "Unit":
    """The unit that the user names, or else the one that the file describes; the file holds no tokenizer."""
    from nplm.data.units import WORDS, open_unit, restore

    if given is not None:
        return open_unit(given)
    if found is None:
        return WORDS
    try:
        about = json.loads(found)
        unit = restore(about)
    except (ValueError, RecursionError) as error:
        raise InputError(f"its description of the unit cannot be read ({error}); name it with `unit`") from None
    if unit.kind in ("spm", "hf"):
        raise InputError(f"its text is split by the tokenizer {unit.name}; name that file with `unit`")
    return unit
