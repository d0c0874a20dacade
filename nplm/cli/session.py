"""Train, evaluate, report: what the commands `train` and `demo` share."""

import shlex
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nplm.cli.output import Rows, columns, emit, log_z_rows, perplexity_text, raw_text_rows, say, show
from nplm.cli.progress import Display, duration
from nplm.cli.settings import SETTINGS, TEXT, Value
from nplm.config import ModelConfig, TrainConfig
from nplm.config.setting import Setting, shown
from nplm.data.corpus import Corpus, unigram_perplexity
from nplm.data.mapped import Ids
from nplm.model import LanguageModel
from nplm.ranks.alone import ALONE, Ranks
from nplm.scoring.evaluate import evaluate
from nplm.scoring.tally import perplexity
from nplm.training.loop import TrainResult, train

Figures = dict[str, Any]


def run_session(
    corpus: Corpus,
    model_config: ModelConfig,
    config: TrainConfig,
    *,
    save: str | None = None,
    resume: bool = False,
    source: Mapping[str, Any] | None = None,
    before: Callable[[], None],
    ranks: Ranks = ALONE,
    allow_mixed: bool = False,
) -> tuple[TrainResult, Figures]:
    """Train a model and evaluate the best one; progress is shown on stderr.

    before: called when all input has been validated.
    """
    begun = time.monotonic()
    rng = np.random.default_rng(config.seed)
    model = LanguageModel.init(model_config, corpus.vocabulary, rng, unit=corpus.unit)
    try:
        with Display(config.epochs, before) as display:
            job: Any = {"ranks": ranks, "allow_mixed": allow_mixed}
            result = train(model, corpus, config, save=save, resume=resume, source=source, observer=display, **job)
    except (KeyboardInterrupt, SystemExit):  # a second Ctrl-C, one before training began, or a signal to end
        if save is not None and Path(save, "last.safetensors").is_file():
            say(f"to resume from the last checkpoint: {resuming(save)}")
        raise
    if result.interrupted:
        say(f"interrupted in epoch {result.progress.epoch + 1}")
    return result, measure(result, corpus, config, ranks) | {
        "wall_seconds": time.monotonic() - begun,
        "interrupted": result.interrupted,
        "save": save,
    }


def measure(result: TrainResult, corpus: Corpus, config: TrainConfig, ranks: Ranks = ALONE) -> Figures:
    """The evaluation of the best model on the test text, or on the validation text if there is no test text."""
    split, ids = ("test", corpus.test) if corpus.test is not None else ("valid", corpus.valid)
    progress = result.progress
    figures: Figures = {
        "test_perplexity": None,
        "valid_perplexity": perplexity(progress.best_nats)
        if corpus.valid is not None and progress.best_epoch
        else None,
        "unigram_perplexity": None,
        "floor_perplexity": None,
        "bits_per_byte": None,
        "bits_per_character": None,
        "perplexity_per_word": None,
        "mean_log_z": None,
        "std_log_z": None,
        "tokens": None,
        "tokens_per_second": result.tokens_per_second,
        "seconds": progress.seconds,
        "seed": config.seed,
        "epochs": progress.epoch,
        "best_epoch": progress.best_epoch,
        "tokens_trained": progress.tokens,
        "baseline": config.outside_claims or None,
        "split": None,
    }
    if ids is None:
        return figures
    return figures | _measured(result.best, split, ids, corpus, config, ranks)


def _measured(model: LanguageModel, split: str, ids: Ids, corpus: Corpus, config: TrainConfig, ranks: Ranks) -> Figures:
    say(f"evaluating the best model on the {split} text ...")
    reset, streams = config.reset_at_eos, config.eval_batch_size
    size, threads = corpus.sizes.get(split), ranks.threads(config.threads)
    got = evaluate(model, ids, size=size, batch_size=streams, reset=reset, threads=threads, ranks=ranks)
    figures = got.as_dict() | {
        f"{split}_perplexity": got.perplexity,
        "split": split,
        "unigram_perplexity": unigram_perplexity(corpus.vocabulary, ids),
    }
    if split == "test":
        figures["baselines"] = dict(corpus.baselines)
        if corpus.floor is not None:
            figures["floor_perplexity"] = corpus.floor.perplexity
            figures["above_floor"] = got.perplexity / corpus.floor.perplexity - 1
            figures["floor_description"] = corpus.floor.description
    return figures


def report(figures: Figures, as_json: bool) -> None:
    """The table at the end of a training run."""
    split = figures["split"]
    if split is None:
        say("nothing to evaluate on: neither a test text nor a validation text was given")
    else:
        _report_measured(figures, split, as_json)
    rows: Rows = [
        (
            "speed",
            f"{figures['tokens_per_second']:,.0f} tokens/s, {figures['tokens_trained']:,} tokens in"
            f" {duration(figures['seconds'])}",
        )
    ]
    if figures["baseline"]:
        rows.append(("method", f"a baseline, outside the claims: {figures['baseline']}"))
    if figures["best_epoch"]:
        rows.append(("epochs", f"{figures['epochs']}, best: epoch {figures['best_epoch']}"))
    rows.append(("saved in", figures["save"] or "no folder (--save was not given)"))
    show("training", rows, as_json)


def _report_measured(figures: Figures, split: str, as_json: bool) -> None:
    model, unigram = figures[f"{split}_perplexity"], figures["unigram_perplexity"]
    counted = f"{figures['tokens']:,} tokens, {figures['sentences']:,} </s> counted, {figures['oovs']:,} <unk> counted"
    rows: Rows = [
        ("perplexity", f"{perplexity_text(model)}   ({counted})"),
        ("  without <unk>", perplexity_text(figures["perplexity_without_oov"])),
        ("unigram model", f"{perplexity_text(unigram)}   ({unigram / model:.1f} times the model's)"),
        *raw_text_rows(figures),
    ]
    for name, value in figures.get("baselines", {}).items():
        if name != "unigram":
            rows.append((name, perplexity_text(value)))
    floor = figures["floor_perplexity"]
    if floor is not None:
        above = figures["above_floor"]
        where = f"{abs(above):.2%} {'above' if above >= 0 else 'below'} it"
        rows.append(("floor", f"{floor:,.3f}   (no model can beat it on average; this one is {where})"))
    if split == "test" and figures["valid_perplexity"] is not None:
        rows.append(("validation perplexity", perplexity_text(figures["valid_perplexity"])))
    show(f"{split} text", rows + log_z_rows(figures), as_json)


def finish(figures: Figures, as_json: bool) -> int:
    """Print the last lines; returns the exit code."""
    if figures["interrupted"]:
        if figures["save"] is None:
            say("nothing was saved: give --save DIR to be able to resume")
        else:
            say(f"to resume: {resuming(figures['save'])}")
    if as_json:
        emit(figures)
    return 130 if figures["interrupted"] else 0


def resuming(save: str) -> str:
    """The command that resumes the run in a folder."""
    return shlex.join(["nplm", "train", "--save", save, "--resume"])


def echo_settings(found: Mapping[str, Value], corpus: Corpus) -> None:
    """Print every setting, its value and where it comes from; then the sizes of the texts."""
    text = [s for s in TEXT if found[s.name].value is not None]
    if found["corpus"].value is not None:
        text = [s for s in text if s.name == "corpus"]
    others = [s for s in SETTINGS if s.name in found and s not in TEXT]
    say("settings: value, where it comes from")
    for cell in _cells(text, found):
        say(f"  {cell}")
    width = max(shutil.get_terminal_size().columns, 100)
    for row in columns(_cells(others, found), width - 2):
        say(f"  {row}")
    sizes = [
        f"{name} {len(ids):,} tokens"
        for name, ids in (("train", corpus.train), ("valid", corpus.valid), ("test", corpus.test))
        if ids is not None
    ]
    say(f"{corpus.name}: {', '.join(sizes)}; V = {len(corpus.vocabulary):,} words")


def _cells(settings: list[Setting], found: Mapping[str, Value]) -> list[str]:
    rows = [(s.flag, shown(found[s.name].value), found[s.name].source) for s in settings]
    name, value = (max((len(row[k]) for row in rows), default=0) for k in (0, 1))
    return [f"{row[0]:<{name}} {row[1]:<{value}} {row[2]}" for row in rows]
