"""`nplm train`: from text to a measured, saved model."""

from collections.abc import Collection, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nplm.cli.errors import suggestion
from nplm.cli.settings import GroupedOption, SettingsCommand, build, options, read_config_file, setting_options, values
from nplm.config import CORPORA, ModelConfig, TextConfig, TrainConfig, settings_of
from nplm.errors import InputError

if TYPE_CHECKING:
    from nplm.data.corpus import Corpus

EPILOG = """\b
Examples:
  nplm train --train train.txt --valid valid.txt --test test.txt --save run
  nplm train --save run --resume                       go on where it stopped; --epochs 20 makes it longer
  nplm train --corpus hmm --noise pool --noise-groups 4 --epochs 5
  nplm train --config recipe.toml --lr 10 --json > result.json
\b
A config file has these names as flat keys, or in tables [model], [train] and [text]:
  corpus = "python"
  [model]
  hidden = 300
  [train]
  batch-size = 32
A flag wins over the file, the file over a resumed run's settings, those over the defaults.
Ctrl-C ends after the current chunk, with everything saved in --save DIR. See docs/howto/train.md.
"""
_SAVING = "Saving, resuming, output"


class TrainCommand(SettingsCommand):
    """Its settings may come from a run that is resumed, and from a config file."""

    def given(self, flags: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        in_file = read_config_file(flags["config"]) if flags.get("config") else {}
        resumed = resumed_settings(flags.get("save"), flags.keys() | in_file.keys()) if flags.get("resume") else {}
        return {"resumed": resumed, "config file": in_file}


@click.command("train", cls=TrainCommand, epilog=EPILOG)
@setting_options()
@click.option("--save", cls=GroupedOption, group=_SAVING, metavar="DIR", help="New folder for models and metrics.")
@click.option("--resume", cls=GroupedOption, group=_SAVING, is_flag=True, help="Go on with the run in --save DIR.")
@click.option("--config", cls=GroupedOption, group=_SAVING, metavar="FILE.toml", help="File of settings; flags win.")
@click.option("--json", "as_json", cls=GroupedOption, group=_SAVING, is_flag=True, help="Figures as JSON on stdout.")
def command(save: str | None, resume: bool, config: str | None, as_json: bool, **_: Any) -> int:
    """Train a language model on a text, measure it exactly, save it."""
    found = values()
    train_config = build(TrainConfig, found)
    build(ModelConfig, found, vocab_size=2)  # complain before a large text is read
    text = build(TextConfig, found)
    check_text(text)

    from nplm.cli import session

    corpus = load_text(text)
    model_config = build(ModelConfig, found, vocab_size=len(corpus.vocabulary))
    figures = session.run_session(
        corpus,
        model_config,
        train_config,
        save=save,
        resume=resume,
        source=record_of(text),
        before=lambda: session.echo_settings(found, corpus),
    )[1]
    session.report(figures, as_json)
    return session.finish(figures, as_json)


def resumed_settings(save: str | None, given: Collection[str]) -> dict[str, Any]:
    """The settings and texts of the run in the folder `save`, by field; given: fields that have a value already."""
    if save is None:
        raise InputError("--resume goes on with the run in a folder: give --save DIR")
    from nplm.training.run_folder import read_config

    record = read_config(save)
    settings = {**record["model"], **record["train"]}
    settings.pop("vocab_size", None)
    text = dict(record["source"])
    if "corpus" in given or ("train" in given and text.get("corpus")):
        text = {}  # the texts are given anew; that they are the same is checked by nplm.train
    odd = (settings.keys() | text.keys()) - {option.field for option in options()}
    if odd:
        raise InputError(
            f"{Path(save) / 'config.json'}: unknown setting {min(odd)!r}; resume with the nplm that wrote it"
        )
    return settings | text


def check_text(text: TextConfig) -> None:
    """Raise InputError unless there is one source of text, and the built-in corpus has a known name."""
    if text.corpus is None:
        if text.train is None:
            raise InputError(f"nothing to train on: give --train FILE, or --corpus {', '.join(CORPORA)}")
        return
    if text.corpus not in CORPORA:
        raise InputError(f"--corpus = {text.corpus!r}: no such corpus; {suggestion(text.corpus, CORPORA)}")
    for name, (_, field, _, _) in settings_of(TextConfig).items():
        if name != "corpus" and getattr(text, name) != field.default:
            raise InputError(f"--corpus {text.corpus} brings its texts and words along: leave out `{name}`")


def load_text(text: TextConfig) -> "Corpus":
    """The corpus that the settings name."""
    from nplm.data import builtin, corpus

    if text.corpus is not None:
        return builtin.load(text.corpus)
    return corpus.load_corpus(
        str(text.train),
        text.valid,
        text.test,
        min_count=text.min_count,
        max_size=text.max_vocab,
        words=text.vocab,
    )


def record_of(text: TextConfig) -> dict[str, Any]:
    """The source of the texts for config.json, so that resuming finds them from any folder."""
    record = {name: value for name, value in asdict(text).items() if value != getattr(TextConfig(), name)}
    for name in ("train", "valid", "test", "vocab"):
        if name in record and record[name] != "-":
            record[name] = str(Path(record[name]).absolute())
    return record
