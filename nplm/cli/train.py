"""`nplm train`: train a model on a text, evaluate it and save it."""

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nplm.cli.job import job_options, job_ranks
from nplm.cli.settings import (
    RESUMED,
    SETTINGS,
    TEXT,
    GroupedCommand,
    GroupedOption,
    as_list,
    build,
    read_config_file,
    setting_options,
    values,
)
from nplm.config import ModelConfig, TextConfig, TrainConfig
from nplm.errors import InputError

if TYPE_CHECKING:
    from nplm.data.corpus import Corpus
    from nplm.data.units import Unit

EPILOG = """\b
Examples:
  nplm train --train train.txt --valid valid.txt --test test.txt --save run
  nplm train --train news --train 'web/*.xz' --weight news=2 --shuffle
  nplm train --save run --resume                       resume it; add --epochs 20 to train longer
  nplm train --corpus hmm --noise pool --noise-groups 4 --epochs 5
  nplm train --config recipe.toml --lr 10 --json > result.json
\b
In a config file, the keys are the options' names, at the top level or in the tables [model], [train] and [text]:
  corpus = "python"
  [model]
  hidden = 300
  [train]
  batch-size = 32
A flag overrides the file, the file overrides a resumed run's settings, and those override the defaults.
Ctrl-C ends training after the current chunk, with everything saved in --save DIR. See docs/howto/train.md.
"""
KEPT = ("default", "resumed")  # sources of a setting whose value a resumed run decides
saving_option = partial(click.option, cls=GroupedOption, group="Saving, resuming, output")


class TrainCommand(GroupedCommand):
    """A command that takes its defaults from a config file and from the run to resume."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        given, _, _ = self.make_parser(ctx).parse_args(list(args))
        if not (ctx.resilient_parsing or {*args} & {*ctx.help_option_names}):
            file, resumed = job_ranks().first(lambda: self._files(given))
            ctx.default_map = resumed | file
            ctx.meta[RESUMED] = resumed.keys() - file.keys()
        return super().parse_args(ctx, args)

    def _files(self, given: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """The settings of the config file, and of the run that is resumed."""
        file = read_config_file(given["config"]) if "config" in given else {}
        return file, resumed_settings(given.get("save"), {*file, *given}) if given.get("resume") else {}


@click.command("train", cls=TrainCommand, epilog=EPILOG, short_help="Train a language model and evaluate it exactly.")
@setting_options()
@saving_option("--save", metavar="DIR", help="New folder for models and metrics.")
@saving_option("--resume", is_flag=True, help="Continue the run in --save DIR.")
@saving_option("--config", metavar="FILE.toml", help="File of settings; flags override it.")
@saving_option("--json", "as_json", is_flag=True, help="Figures as JSON on stdout.")
@job_options
def command(save: str | None, resume: bool, as_json: bool, allow_mixed: bool, **_: Any) -> int:
    """Train a language model on a text, evaluate it exactly and save it."""
    found = values()
    train_config = build(TrainConfig, found)
    build(ModelConfig, found, vocab_size=2)  # report a bad setting before a large text is read
    text = build(TextConfig, found)
    _check_readable_by_all(text)

    corpus = load_text(text, choose_unit(text, save if resume and found["unit"].source in KEPT else None))
    from nplm.cli import session  # not earlier: importing it takes longer than finding that a text is missing

    model_config = build(ModelConfig, found, vocab_size=len(corpus.vocabulary))
    figures = session.run_session(
        corpus,
        model_config,
        train_config,
        save=save,
        resume=resume,
        source=record_of(text),
        ranks=job_ranks(),
        allow_mixed=allow_mixed,
        before=lambda: session.echo_settings(found, corpus),
    )[1]
    session.report(figures, as_json)
    return session.finish(figures, as_json)


def _check_readable_by_all(text: TextConfig) -> None:
    """Reject standard input where several ranks would read it."""
    given = [*(text.train or ()), *(text.valid or ()), *(text.test or ()), text.vocab]
    if job_ranks().size > 1 and "-" in given:
        raise InputError("every rank reads the texts, but only rank 0 has standard input: give files")


def resumed_settings(save: str | None, given: set[str]) -> dict[str, Any]:
    """The settings and texts of the run in the folder `save`, by name; given: names of settings given otherwise."""
    if save is None:
        raise InputError("--resume continues the run in a folder: give --save DIR")
    from nplm.training.run_config import read_config

    record = read_config(save)
    settings = {**record["model"], **record["train"]}
    settings.pop("vocab_size", None)
    text = dict(record["source"])
    if "train" in given:
        text.pop("weight", None)  # it belongs to the earlier texts
    if "corpus" in given or ("train" in given and text.get("corpus")):
        text = {}  # replaced; nplm.train checks that the texts are the same
    odd = (settings.keys() | text.keys()) - {s.name for s in SETTINGS}
    if odd:
        where = Path(save) / "config.json"
        raise InputError(f"{where}: unknown setting {min(odd)!r}; resume with the version of nplm that wrote it")
    lists = {setting.name: as_list(setting, text[setting.name]) for setting in TEXT if setting.name in text}
    return settings | text | lists


def choose_unit(text: TextConfig, resumed: str | None) -> "Unit":
    """The unit that the settings name; for a resumed run, its model's, since the tokenizer's file may be gone."""
    from nplm.data.units import Words, open_unit
    from nplm.storage.checkpoint import load_unit

    last = Path(resumed or "", "last.safetensors")
    if resumed is not None and last.is_file():
        return load_unit(last)
    return open_unit(text.unit) if text.unk is None else Words(unk=text.unk)


def load_text(text: TextConfig, unit: "Unit") -> "Corpus":
    """The corpus that the settings name."""
    from nplm.cli.reading import Watch
    from nplm.data import builtin, corpus

    if text.corpus is not None:
        return builtin.load(text.corpus)
    with Watch() as reading:
        return corpus.load_corpus(
            text.train or (),
            text.valid,
            text.test,
            unit=unit,
            min_count=text.min_count,
            max_size=text.max_vocab,
            words=text.vocab,
            weights=text.weights,
            reading=reading,
        )


def record_of(text: TextConfig) -> dict[str, Any]:
    """The source of the texts for config.json, with absolute paths, so that resuming works from any folder."""
    record = {name: value for name, value in asdict(text).items() if value != getattr(TextConfig, name)}
    for name in ("train", "valid", "test", "weight"):  # FILE=2 is made absolute like FILE
        if name in record:
            record[name] = [_absolute(path) for path in record[name]]
    if text.vocab is not None:
        record["vocab"] = _absolute(text.vocab)
    kind, colon, file = text.unit.partition(":")
    if colon:
        record["unit"] = f"{kind}:{Path(file).absolute()}"
    return record


def _absolute(path: str) -> str:
    return path if path == "-" or path.startswith("-=") else str(Path(path).absolute())
