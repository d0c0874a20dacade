"""`nplm rescore`: rank n-best lists with a model's scores."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import click

from nplm.cli.common import check_stdin, shown_option
from nplm.cli.job import job_options, job_ranks, open_for_job
from nplm.cli.output import emit, say
from nplm.errors import InputError
from nplm.logs import LN10

if TYPE_CHECKING:
    from nplm.toolkits.nbest import NBest
    from nplm.toolkits.rescore import Ranked

EPILOG = """\b
Examples:
  nplm rescore run lists/*.gz --lm-scale 10 --word-penalty 0.5 > hypotheses.txt
  nplm rescore run utterance.nbest --nbest
  nplm rescore run --format kaldi words_text --acoustic acwt --lm-scale 12 > text
"""


@click.command("rescore", epilog=EPILOG, short_help="Rerank n-best lists from SRILM or Kaldi.")
@click.argument("model")
@click.argument("files", metavar="[NBEST...]", nargs=-1)
@shown_option(
    "--format",
    "form",
    type=click.Choice(["srilm", "kaldi"]),
    default="srilm",
    help="srilm: one list per file, `ascore lscore nwords words`; kaldi: `utt-N words`.",
)
@shown_option("--lm-scale", type=float, metavar="S", default=8.0, help="Weight of the model's score.")
@shown_option(
    "--word-penalty",
    type=float,
    metavar="P",
    default=0.0,
    help="Subtracted from the total for every word; in log10, or in nats for kaldi.",
)
@click.option("--acoustic", metavar="FILE", help="kaldi: acoustic costs, `utt-N cost`, in the order of the lists.")
@shown_option(
    "--mix-old",
    type=float,
    metavar="W",
    default=0.0,
    help="srilm: share of the old lscore; the score is (1 - W) new + W old.",
)
@click.option(
    "--skip",
    metavar="WORD",
    multiple=True,
    help="Do not score WORD, such as a noise marker; repeatable. SRILM's -pau- is never scored.",
)
@click.option(
    "--join",
    metavar="TEXT",
    default=" ",
    help="What to put between words for a model of characters or pieces; '' for Chinese.  [default: a space]",
)
@click.option("--nbest", is_flag=True, help="Write the whole list, best first, instead of the best hypothesis.")
@click.option(
    "--output", metavar="FOLDER", help="srilm: also write each complete list to a file of the same name in FOLDER."
)
@click.option("--unnormalised", is_flag=True, help="Use the mean log Z of the last validation: fast, but not exact.")
@click.option("--json", "as_json", is_flag=True, help="A summary as JSON, as the last line on stdout.")
@job_options
def command(
    model: str,
    files: tuple[str, ...],
    form: str,
    lm_scale: float,
    word_penalty: float,
    acoustic: str | None,
    mix_old: float,
    skip: tuple[str, ...],
    join: str,
    nbest: bool,
    output: str | None,
    unnormalised: bool,
    as_json: bool,
    allow_mixed: bool,
) -> None:
    """Rank the hypotheses of each NBEST list with MODEL's score; without NBEST, or for -, standard input is read.

    total = acoustic score + S * LM score - P * words.  For each list, one line is printed: its name, and the words of
    the hypothesis with the highest total; in a tie, the first.
    """
    from nplm.toolkits.nbest import PAUSE
    from nplm.toolkits.rescore import model_functions, rescore

    files = files or ("-",)
    _check(files, form, acoustic, mix_old, nbest, output)
    path, loaded = open_for_job(model, allow_mixed)
    ranks = job_ranks()
    if unnormalised:
        say(f"unnormalised scores: log Z is taken as {loaded.mean_log_z or 0.0:+.4f} nats everywhere")
    ranked = rescore(
        ranks.each(lambda: _lists(files, form, acoustic, mix_old)),
        *model_functions(loaded, normalize=not unnormalised, join=join, threads=ranks.threads(0), ranks=ranks),
        lm_scale=lm_scale,
        word_penalty=word_penalty / LN10 if form == "kaldi" else word_penalty,
        mix_old=mix_old,
        skip=frozenset([*skip, PAUSE] if form == "srilm" else skip),
    )
    counts = _write(ranked, nbest, output if ranks.rank == 0 else None)
    if as_json:
        settings = {"format": form, "lm_scale": lm_scale, "word_penalty": word_penalty, "mix_old": mix_old}
        emit({"model": str(path)} | settings | {"unnormalised": unnormalised} | counts)


def _check(
    files: tuple[str, ...], form: str, acoustic: str | None, mix_old: float, nbest: bool, output: str | None
) -> None:
    """Reject options that contradict each other, before anything is read."""
    from nplm.toolkits.nbest import list_name

    check_stdin([*files, acoustic])
    if form == "kaldi" and (mix_old or output is not None):
        option = "--output" if output is not None else "--mix-old"
        raise InputError(f"{option} is for SRILM's lists, which are separate files with an LM score; leave it out")
    if form == "srilm" and acoustic is not None:
        raise InputError("--acoustic is for --format kaldi; SRILM's lists contain the acoustic score")
    if form == "srilm" and nbest and len(files) > 1:
        raise InputError(f"--nbest would print {len(files)} lists as one; give a folder with --output instead")
    if output is None:
        return
    names = [list_name(file) for file in files]
    if "-" in names:
        raise InputError("--output names its files after the lists' files; use --nbest for standard input")
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError(f"two lists are called {twice[0]!r}, and --output would keep only one; use two commands")


def _write(ranked: "Iterable[Ranked]", nbest: bool, output: str | None) -> dict[str, int]:
    """Write the best hypothesis of each list, or whole lists, and lists to a folder; returns the counts."""
    from contextlib import nullcontext

    from nplm import atomic
    from nplm.toolkits.rescore import one_best, whole_list

    lists = hypotheses = changed = units = unknown = 0
    lost: OSError | None = None  # of stdout: the folder is still written
    with nullcontext() if output is None else atomic.atomic_folder(output) as folder:
        for result in ranked:
            lines = whole_list(result)
            if folder is not None:
                atomic.write(folder / result.nbest.name, [line.encode() + b"\n" for line in lines])
            try:
                if lost is None:
                    click.echo("\n".join(lines) if nbest else one_best(result))
            except OSError as error:
                if folder is None:
                    raise
                lost = error
            lists += 1
            hypotheses += len(lines)
            changed += int(result.order[0]) != 0
            units, unknown = units + result.units, unknown + result.unknown
    if lost is not None:
        raise lost
    say(f"{lists:,} lists, {hypotheses:,} hypotheses; in {changed:,} lists the best is not the first")
    say(f"{unknown:,} of {units:,} words are unknown to the model and scored as <unk>")
    return {"lists": lists, "hypotheses": hypotheses, "changed": changed, "words": units, "unknown": unknown}


def _lists(files: tuple[str, ...], form: str, acoustic: str | None, mix_old: float) -> Iterator["NBest"]:
    from nplm.toolkits.nbest import read_kaldi, read_srilm

    if form == "kaldi":
        return read_kaldi(files, acoustic)
    return (read_srilm(file, finite_old=mix_old > 0) for file in files)
