"""When is a pool of noise groups harmless, and when does one help?  The method against its predecessors, tuned.

Every arm (K, and how its groups are drawn and shared) has its own rate: the best on the valid text of five or more,
found by successive halving (_halving.py).  One layer, S = 640 steps in N = 32 chunks, B = 20, four epochs, the rate
halved after two: on the Penn Treebank, on Chinese characters, or on the text of Python's documentation, which needs no
download.  A row is a trial: an arm, a rate, a seed, and its curve; the tables are made from the trials.

    python benchmarks/study_noise.py --corpus python --jobs 2 --json again.json      the main arms, on any machine
    python benchmarks/study_noise.py --arms map                   every cell of K by M on PTB: hours
    python benchmarks/study_noise.py --arms map --seeds 1 2 3     and two more seeds where the difference is below 5 %
    python benchmarks/study_noise.py --arms pool-2-k400 --every-rate     for arms that break down: _halving.py
    python benchmarks/study_noise.py --arms fresh-k100 pool-2-k100 --optimizer adagrad
    python benchmarks/study_noise.py --cost                       what a step of the main kinds costs, in turns

Trials are added to the result file as they come.  What it already holds is not run again, and a trial that was stopped
goes on from its last epoch, so the same command carries on.  The time it will take is measured before it starts.

baselines    N = 1: one gradient and one update for the whole, uncut sequence.  M = 1: one group for all of its chunks
fresh        claim 2: a group for every chunk
pool-M       claim 3: M groups for the 32 chunks, drawn again for every sequence; never: not drawn again
own          the pool's own counts in the loss: there, too
stratified   the groups of a pool (or each fresh group) dealt from one stratified sample: docs/learn/reuse.md
"""

import argparse
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import _halving
import _noise_cost
import _record
import _training
from _noise_arms import KS, MAIN, SETS, Arm, pool
from _noise_tables import ARMS, BORDER, COST, border_rows, refinements, within
from _tables import pick
from _trials import Trials, perplexity
from study_chunks import coverage

from nplm.config import TrainConfig
from nplm.training.run_config import read_config

EPOCHS = 4
RATES = {"sgd": (2.5, 5.0, 10.0, 20.0, 40.0), "adagrad": (0.025, 0.05, 0.1, 0.2, 0.4)}
TEXTS = {  # text -> flags, hidden units
    "ptb": (_training.texts("ptb", "train", "valid"), 200),
    "python": (["--corpus", "python"], 100),
    "zh": ([*_training.texts("zh", "train", "valid"), "--unit", "char"], 200),
}
PLACE = _record.by("text", "arm", "optimizer", "precision", "seed", "lr", "epochs")


class Study:
    """Trials of one text: run, resumed, and kept in a result file as they end."""

    def __init__(self, arguments: argparse.Namespace, path: Path | None) -> None:
        self.text, self.optimizer, self.precision = arguments.corpus, arguments.optimizer, arguments.precision
        self.quick, self.epochs, self.trials = arguments.quick, arguments.epochs, Trials(path, PLACE)
        self.runs, self.given = arguments.runs / self.text, arguments.rates
        self.keep = len(self.rates()) if arguments.every_rate else 2

    def arm(self, arm: Arm, seeds: list[int]) -> None:
        """All trials of an arm: the first seed finds the rate, the others are run where they can decide something."""
        first, *others = seeds
        found = _halving.halve(
            lambda lr, epochs: self.perplexity(arm, lr, first, epochs), self.rates(), self.epochs, self.keep
        )
        self.prune(arm, first, keep=found.rate)
        fresh = self.best_of(Arm(arm.num_noise), first)
        for seed in others:
            if arm in MAIN or fresh is None or within(found.perplexity, fresh):
                self.perplexity(arm, found.rate, seed, self.epochs)

    def rates(self) -> tuple[float, ...]:
        """The given ones, or those of the update rule."""
        if self.given:
            return tuple(self.given)
        return RATES[self.optimizer][-2:] if self.quick else RATES[self.optimizer]

    def setting(self) -> dict[str, str]:
        """The settings that all trials of this study have in common, as recorded in each row."""
        return {"text": self.text, "optimizer": self.optimizer, "precision": self.precision}

    def best_of(self, arm: Arm, seed: int) -> float | None:
        """The best perplexity of an arm after the last epoch by one seed; None where it was not run yet."""
        same = {"arm": arm.name, "seed": seed, "epochs": self.epochs, **self.setting()}
        return min((row["perplexity"] for row in pick(self.trials.rows, **same) if row["perplexity"]), default=None)

    def perplexity(self, arm: Arm, lr: float, seed: int, epochs: int) -> float:
        """Of a trial, which is run or gone on with where the rows do not have it; inf where it diverged."""
        given = {"arm": arm.name, "seed": seed, "lr": lr, "epochs": epochs, **self.setting()}
        return perplexity(self.trials.row(given, lambda: arm._asdict() | self.run(arm, lr, seed, epochs)))

    def run(self, arm: Arm, lr: float, seed: int, epochs: int) -> dict[str, Any]:
        """Train, or go on; the figures of the row."""
        text, hidden = TEXTS[self.text]
        size = 8 if self.quick else hidden
        folder = self.folder(arm, lr, seed)
        if not (folder / _training.LAST).exists():
            shutil.rmtree(folder, ignore_errors=True)  # nothing to resume from
        flags = [*text, "--hidden", str(size), "--emsize", str(size), "--epochs", str(epochs), "--seed", str(seed)]
        flags += [*arm.flags, "--optimizer", self.optimizer, "--lr", str(lr), "--precision", self.precision]
        try:
            result = _training.train(folder, "noise", flags)
        except SystemExit as stop:
            if stop.code != _training.DIVERGED:
                raise
            return {"perplexity": None, "curve": _training.curve(folder)}
        curve = _training.curve(folder)[:epochs]  # a run that was kept may have trained for more
        config = TrainConfig(**read_config(folder)["train"])
        figures = {name: curve[-1][name] for name in ("perplexity", "mean_log_z", "std_log_z")}
        figures |= {name: result[name] for name in ("seconds", "tokens_per_second")}
        if epochs == self.epochs:
            figures |= coverage(folder, config, result["tokens_trained"] // epochs)
        return figures | {"curve": curve}

    def folder(self, arm: Arm, lr: float, seed: int) -> Path:
        """Of a trial's run."""
        return self.runs / f"{arm.name}-{self.optimizer}-{self.precision}-{lr:g}-seed{seed}"

    def prune(self, arm: Arm, seed: int, keep: float) -> None:
        """Delete the checkpoints of an arm's other rates: its trials are done.  Metrics and settings stay."""
        for folder in self.runs.glob(f"{arm.name}-{self.optimizer}-{self.precision}-*-seed{seed}"):
            if folder != self.folder(arm, keep, seed):
                for file in folder.glob("*.safetensors"):
                    file.unlink()


def chosen(arguments: argparse.Namespace) -> list[Arm]:
    """The arms that the command line names, each once, in its order."""
    everything = {arm.name: arm for arms in SETS.values() for arm in arms}
    named = arguments.arms or (["quick"] if arguments.quick else ["main"])
    if odd := [name for name in named if name not in SETS and name not in everything]:
        sys.exit(f"no such arm: {', '.join(odd)}; there are {', '.join(SETS)}, and --list names the arms")
    found = [arm for name in named for arm in (SETS[name] if name in SETS else [everything[name]])]
    return list(dict.fromkeys(found))


def estimate(study: Study, arms: list[Arm], arguments: argparse.Namespace) -> None:
    """Say how long the arms that are not done will take, from a few chunks of each kind of step, timed now."""
    left = [arm for arm in arms if study.best_of(arm, arguments.seeds[0]) is None]
    epochs = (
        _halving.cost(len(study.rates()), arguments.epochs, study.keep) + (len(arguments.seeds) - 1) * arguments.epochs
    )
    text, hidden = TEXTS[arguments.corpus]
    settings = {
        arm.name: _noise_cost.settings([*arm.flags, "--optimizer", study.optimizer, "--precision", study.precision])
        for arm in left
    }
    seconds = _noise_cost.seconds(text, hidden, list(settings.values()), epochs) / arguments.jobs
    print(
        f"{len(arms) - len(left)} of {len(arms)} arms are done; the others take about {seconds / 3600:.1f} hours,"
        " timed with the machine as busy as it is now",
        file=sys.stderr,
        flush=True,
    )


def show(study: Study) -> None:
    """Print what the trials give, and record the border, which takes the text's unigram."""
    rows = pick(study.trials.rows, text=study.text, precision=study.precision)
    ARMS.show(ARMS.rows(rows))
    if not study.quick:
        found = BORDER.show(border_rows(rows, _noise_cost.unigram(TEXTS[study.text][0])))
        if study.trials.path is not None and found:
            _record.write(study.trials.path.with_name(f"noise_border-{study.text}.json"), found)


def cost(arguments: argparse.Namespace) -> None:
    """Time a step of every K with fresh noise, with a pool of two groups and with a stratified one."""
    kinds = {"fresh": Arm, "pool-2": lambda k: pool(k, 2), "pool-32-stratified": lambda k: pool(k, 32, "stratified")}
    arms = {(k, name): _noise_cost.settings(make(k).flags) for k in sorted(KS) for name, make in kinds.items()}
    text, hidden = TEXTS[arguments.corpus]
    found = _noise_cost.steps(text, hidden, {f"{k} {name}": arm for (k, name), arm in arms.items()}, repeats=7)
    rows = [{"num_noise": k} | {name: found[f"{k} {name}"] for name in kinds} for k in sorted(KS)]
    COST.show(rows)
    if path := _record.path_of(arguments, f"noise_cost-{arguments.corpus}"):
        _record.write(path, rows)


def main() -> None:
    parser = _record.parser(__doc__, "two arms of a tiny model", "study_noise-TEXT")
    parser.add_argument("--arms", nargs="+", metavar="ARM", help=f"or a set of them: {', '.join(SETS)}; default: main")
    parser.add_argument("--corpus", choices=list(TEXTS), default="ptb", help="default: ptb, in the folder NPLM_DATA")
    parser.add_argument("--optimizer", choices=list(RATES), default="sgd")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1], metavar="N", help="the first one finds the rate")
    parser.add_argument("--rates", nargs="+", type=float, metavar="X", help="learning rates to try, in place of five")
    parser.add_argument("--every-rate", action="store_true", help="run every rate to the last epoch, without halving")
    parser.add_argument("--epochs", type=int, default=EPOCHS, metavar="N")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="arms trained side by side, on a core each")
    parser.add_argument("--refine", action="store_true", help="then cells between those of the border, by sqrt(2) in K")
    parser.add_argument("--cost", action="store_true", help="time a step of the main kinds and stop")
    parser.add_argument("--list", action="store_true", help="name all arms and stop")
    parser.add_argument("--show", action="store_true", help="print the tables of the trials there are, and stop")
    parser.add_argument("--estimate", action="store_true", help="tell how long it will take and stop")
    parser.add_argument("--runs", type=Path, default=_record.ROOT / "runs" / "noise", metavar="DIR")
    arguments = parser.parse_args()
    if arguments.list:
        print("\n".join(dict.fromkeys(arm.name for arms in SETS.values() for arm in arms)))
        return
    if arguments.cost:
        cost(arguments)
        return
    study = Study(arguments, _record.path_of(arguments, f"study_noise-{arguments.corpus}"))
    if arguments.show:
        show(study)
        return
    arms = chosen(arguments)
    if not arguments.quick:
        estimate(study, arms, arguments)
    while arms and not arguments.estimate:
        with ThreadPoolExecutor(arguments.jobs) as workers:
            for done in [workers.submit(study.arm, arm, arguments.seeds) for arm in arms]:
                done.result()
        refined = refinements(study.trials.rows) if arguments.refine else []
        arms = [pool(k, m) if m else Arm(k) for k, m in refined]
    if not arguments.estimate:
        show(study)


if __name__ == "__main__":
    main()
