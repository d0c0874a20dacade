"""The study of tuned noise arms.  Oracles: every rate run to the end, borders by hand, the definitions of the arms."""

import importlib
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from nplm.cli.train import command as train_command
from nplm.noise import FreshNoise, NoiseDistribution, NoisePool

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def benchmark(monkeypatch):
    """Imports a module of benchmarks/."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module


# ---- successive halving


class Valley:
    """A perplexity with its best rate at `best`, at every epoch; diverges above `most`."""

    def __init__(self, best, most=math.inf):
        self.best, self.most, self.calls = best, most, []

    def __call__(self, rate, epochs):
        self.calls.append((rate, epochs))
        return math.inf if rate > self.most else 100 / epochs + abs(math.log(rate / self.best))


@pytest.mark.parametrize("best", [2.5, 5, 10, 20, 40])
def test_halving_finds_the_best(benchmark, best):
    """The best of all rates, each run to the end; the best lies between two others that were run."""
    valley, rates = Valley(best), (2.5, 5.0, 10.0, 20.0, 40.0)
    found = benchmark("_halving").halve(valley, rates, 4)
    every = {rate: Valley(best)(rate, 4) for rate in rates}
    assert found.rate == min(every, key=every.get)
    assert found.perplexity == min(every.values())
    assert min(found.tried) < found.rate < max(found.tried)
    assert len(found.tried) == (6 if best in (2.5, 40) else 5)


def test_halving_follows_the_best_beyond_the_ends(benchmark):
    """By hand: 160 lies two factors beyond 40, a third step shows that it is the best, a limit stops the walk."""
    halving = benchmark("_halving")
    assert halving.halve(Valley(160.0), (10.0, 20.0, 40.0), 4, beyond=3).rate == 160
    assert halving.halve(Valley(160.0), (10.0, 20.0, 40.0), 4, beyond=1).rate == 80
    diverged = halving.halve(Valley(40.0, most=25.0), (10.0, 20.0, 40.0), 4)
    assert (diverged.rate, diverged.tried[40.0]) == (20, 1)


def test_a_slow_start(benchmark):
    """By hand: the best rate is the worst for two epochs; halving stops it, and finds it where all rates are kept."""
    halving, rates = benchmark("_halving"), (2.5, 5.0, 10.0, 20.0, 40.0)
    trial = lambda rate, epochs: 1.0 if (rate, epochs) == (10.0, 4) else 100 + rate * (rate == 10.0) + rate  # noqa: E731
    assert halving.halve(trial, rates, 4).rate != 10.0
    kept = halving.halve(trial, rates, 4, keep=5)
    assert (kept.rate, set(kept.tried.values())) == (10.0, {4})
    diverged = halving.halve(Valley(10.0, most=25.0), rates, 4, keep=5)
    assert (diverged.rate, diverged.tried) == (10.0, {2.5: 4, 5.0: 4, 10.0: 4, 20.0: 4, 40.0: 1})


def test_what_halving_costs(benchmark):
    """By hand: 5 rates for one epoch, 3 of them for a second, 2 for two more: 12 epochs, each once."""
    halving, valley = benchmark("_halving"), Valley(10.0)
    halving.halve(valley, (2.5, 5.0, 10.0, 20.0, 40.0), 4)
    most = {rate: max(epochs for r, epochs in valley.calls if r == rate) for rate, _ in valley.calls}
    assert sorted(most.values()) == [1, 1, 2, 4, 4]
    assert sum(most.values()) == halving.cost(5, 4) == 12 and halving.cost(5, 4, keep=5) == 20
    assert halving.rungs(4) == [1, 2, 4] and halving.rungs(6) == [1, 2, 4, 6] and halving.rungs(1) == [1]


# ---- arms


def test_arms_are_what_their_names_say(benchmark):
    """nplm.TrainConfig of the flags: N, M, K, the draw, and whether a run lies outside the claims."""
    study, cost = benchmark("study_noise"), benchmark("_noise_cost")
    arms = {arm.name: arm for arms in study.SETS.values() for arm in arms}
    assert all(arm.name == name for name, arm in arms.items())
    assert {(arm.num_noise, arm.groups) for arm in benchmark("_noise_arms").MAP if arm.draw == "independent"} >= {
        (k, m) for k in (25, 100, 400, 1600, 6400) for m in (1, 2, 4, 8, 16, None)
    }
    for name, arm in arms.items():
        config = benchmark("nplm.config").TrainConfig(**cost.settings(arm.flags))
        assert config.sequence_length == 640 and config.batch_size == 20
        assert config.chunks == (1 if "uncut" in name else 32)
        assert config.baseline == bool(config.outside_claims) == ("uncut" in name or "pool-1-" in name)
        assert name.endswith(f"k{config.num_noise}") and (config.objective == "nce" or config.objective in name)
        assert (config.noise_draw == "stratified") == ("stratified" in name)
        assert config.noise == ("pool" if "pool" in name else "fresh")
        assert config.noise == "fresh" or f"pool-{config.noise_groups}-" in name


def test_independent_groups_for_every_chunk_are_fresh_noise():
    """Why the map has no M = 32: the distribution of each group and the independence of the groups, not their words."""
    q = NoiseDistribution.from_counts([5, 3, 2])
    fresh, every = FreshNoise(q, 4, 1), NoisePool(q, 4, 1, 32, 32)
    assert [tuple(fresh.group(0, 3, n)) for n in range(32)] == [tuple(every.group(0, 3, n)) for n in range(32)]


# ---- the tables


def trial(arm, k, perplexity, lr=10.0, seed=1, epochs=4, groups=None, **more):
    """A row of the result file."""
    row = {
        "text": "ptb",
        "arm": arm,
        "optimizer": "sgd",
        "precision": "float32",
        "seed": seed,
        "lr": lr,
        "epochs": epochs,
        "num_noise": k,
    }
    row |= {"groups": groups, "draw": "independent", "redraw": "sequence" if groups else None, "chunks": 32}
    curve = [{"seconds": 20.0, "perplexity": 400.0}, {"seconds": 40.0, "perplexity": 100.0}]
    row |= {"objective": "nce", "perplexity": perplexity, "mean_log_z": 0.0, "curve": curve}
    return row | more


def test_arms_of_the_table(benchmark):
    """By hand: the best rate of the first seed, the mean over its seeds, what diverged, the distance from fresh."""
    rows = [
        trial("fresh-k100", 100, 130.0, epochs=1), trial("fresh-k100", 100, 120.0),
        trial("fresh-k100", 100, 150.0, 5.0), trial("fresh-k100", 100, 122.0, seed=2),
        trial("fresh-k100", 100, 5.1e54, 20.0, epochs=2), trial("fresh-k100", 100, None, 40.0, epochs=1),
        trial("pool-2-k100", 100, 242.0, groups=2), trial("pool-2-k400", 400, 1.0, groups=2, epochs=1),
        trial("pool-2-k400", 400, None, groups=2),
    ]  # fmt: skip
    fresh, pool = benchmark("_noise_tables").arms(rows)
    assert (fresh["arm"], fresh["lr"], fresh["perplexity"], fresh["seeds"]) == ("fresh-k100", 10.0, 121.0, 2)
    assert fresh["spread"] == pytest.approx(math.sqrt(2)) and fresh["over_fresh"] == 0
    assert fresh["rates"] == "5: 150.0 (4), 10: 120.0 (4), 20: 5e54 (2), 40: diverged (1)"
    assert (pool["arm"], pool["over_fresh"], pool["spread"]) == ("pool-2-k100", 1.0, None)
    assert pool["at_time"] == pytest.approx(200)


def border_rows(ratios):
    """Trials whose pools of two groups have these ratios to fresh noise, by K."""
    fresh = [trial(f"fresh-k{k}", k, 100.0) for k in ratios]
    return fresh + [trial(f"pool-2-k{k}", k, 100.0 * ratio, groups=2) for k, ratio in ratios.items()]


def test_border(benchmark):
    """By hand: an excess that falls as 1/K is a straight line on logarithmic scales, so the border lies on it."""
    tables = benchmark("_noise_tables")
    ratio = lambda k: math.exp(60 / k)  # noqa: E731  # 5 % at K = 60 / log 1.05
    by_k = {k: ratio(k) for k in (100, 400, 1600, 6400)}
    assert tables.border(by_k) == pytest.approx(60 / math.log(1.05), rel=1e-6)
    assert tables.bracket(by_k) == (400, 1600)
    assert tables.border({100: 1.2, 400: 1.01, 1600: 1.06}) is None  # it does not stay below
    assert tables.border({100: 1.01}) is None and tables.border({100: 3.0}) is None
    assert tables.refinements(border_rows(by_k)) == [(800, None), (800, 2)]
    near = {600: ratio(600), 800: ratio(800), 1100: ratio(1100), 1600: ratio(1600)}
    assert tables.refinements(border_rows(near)) == []


def test_predicted_border(benchmark):
    """The prediction's own formula: fresh arms made by [Z5] give its step back, and pools made by it their border."""
    tables, reuse = benchmark("_noise_tables"), benchmark("_reuse")
    probs = NoiseDistribution.from_counts(1000 // np.arange(1, 301)).probs
    ks = (50, 100, 400, 1600)
    fresh = {k: 100 * math.exp(reuse.excess(probs, 15.0, 1, k)) for k in ks}
    pools = {k: 100 * math.exp(reuse.excess(probs, 15.0, 16, k)) for k in ks}
    rows = [trial(f"fresh-k{k}", k, fresh[k]) for k in ks] + [trial(f"pool-2-k{k}", k, pools[k], groups=2) for k in ks]
    (found,) = tables.border_rows(rows, probs)
    assert (found["text"], found["groups"]) == ("ptb", 2)
    assert found["step"] == pytest.approx(15.0, rel=1e-3)
    assert found["measured"] == pytest.approx(found["predicted"], rel=0.02)
    assert found["factor"] == pytest.approx(1, abs=0.02)


# ---- the script


def script(benchmark, monkeypatch, *arguments):
    """Run it in this process."""
    monkeypatch.setattr(sys, "argv", ["study_noise", *map(str, arguments)])
    benchmark("study_noise").main()


@pytest.fixture
def fake(benchmark, monkeypatch):
    """Trials that train nothing: perplexity by rate, pools twice as bad; keeps what was asked for."""
    asked, training = [], benchmark("_training")

    def train(folder, recipe, flags):
        settings = benchmark("_noise_cost").settings(flags[flags.index("--epochs") :])
        asked.append((folder.name, settings["epochs"]))
        if settings["lr"] == "40.0":
            raise SystemExit(training.DIVERGED)
        perplexity = 100 * (2 if "pool" in folder.name else 1) + abs(float(settings["lr"]) - 10)
        train.curves[folder] = [{"seconds": 1.0, "perplexity": perplexity, "mean_log_z": 0.0, "std_log_z": 0.1}]
        return {"seconds": 1.0, "tokens_per_second": 9.0, "tokens_trained": 8}

    train.curves = {}
    study = benchmark("study_noise")
    monkeypatch.setattr(training, "train", train)
    monkeypatch.setattr(training, "curve", lambda folder: train.curves.get(folder, []))
    monkeypatch.setattr(study, "coverage", lambda *_: {"uncovered": 0.5})
    monkeypatch.setattr(study, "read_config", lambda folder: {"train": {}})
    monkeypatch.setattr(study, "estimate", lambda *_: None)
    monkeypatch.setattr(study._noise_cost, "unigram", lambda flags: np.full(4, 0.25))
    return asked


def test_trials_are_run_once(benchmark, monkeypatch, fake, tmp_path, capsys):
    """By hand: 5 rates, then 3, then 2; more seeds near fresh noise and for main arms; nothing is run a second time."""
    given = ["--arms", "fresh-k400", "pool-2-k400", "--json", tmp_path / "rows.json", "--runs", tmp_path / "runs"]
    script(benchmark, monkeypatch, *given)
    assert len(fake) == 2 * (5 + 3 + 2)
    rows = json.loads((tmp_path / "rows.json").read_text(encoding="utf-8"))["rows"]
    assert len(rows) == 20 and sum(row["perplexity"] is None for row in rows) == 2
    script(benchmark, monkeypatch, *given)
    assert len(fake) == 20
    script(benchmark, monkeypatch, *given, "--seeds", 1, 2, 3)  # a pool that is twice as bad needs no more seeds
    assert fake[20:] == [("fresh-k400-sgd-float32-10-seed2", 4), ("fresh-k400-sgd-float32-10-seed3", 4)]
    capsys.readouterr()
    script(benchmark, monkeypatch, *given, "--show")
    printed = capsys.readouterr().out
    assert "pool-2-k400" in printed and "+100.0%" in printed and "40: diverged (1)" in printed
    assert len(fake) == 22
    script(benchmark, monkeypatch, *given, "--every-rate")
    rest = [(20, 2), (2.5, 4), (20, 4)]  # rates that halving had stopped
    assert fake[22:] == [(f"{arm}-k400-sgd-float32-{lr}-seed1", n) for arm in ("fresh", "pool-2") for lr, n in rest]
    script(benchmark, monkeypatch, "--arms", "pool-2-k100", *given[3:], "--seeds", 1, 2)
    assert fake[-1] == ("pool-2-k100-sgd-float32-10-seed2", 4)
    del fake[:]
    script(benchmark, monkeypatch, *given, "--rates", 11, 12.5, 15)  # the best is the lowest: two below it are run too
    assert fake[-2:] == [(f"pool-2-k400-sgd-float32-{lr}-seed1", 4) for lr in ("9.16667", "7.63889")]


def test_other_rates_lose_their_checkpoints(benchmark, monkeypatch, fake, tmp_path):
    """The definition: the chosen rate's run is kept whole, of the others the metrics."""
    runs = tmp_path / "runs"
    for lr in ("5", "10"):
        folder = runs / "ptb" / f"fresh-k100-sgd-float32-{lr}-seed1"
        folder.mkdir(parents=True)
        for name in ("last.safetensors", "metrics.jsonl"):
            (folder / name).write_text("", encoding="utf-8")
    script(benchmark, monkeypatch, "--arms", "fresh-k100", "--json", tmp_path / "rows.json", "--runs", runs)
    left = sorted(str(path.relative_to(runs / "ptb")) for path in runs.rglob("*.*") if path.is_file())
    assert left == [
        "fresh-k100-sgd-float32-10-seed1/last.safetensors", "fresh-k100-sgd-float32-10-seed1/metrics.jsonl",
        "fresh-k100-sgd-float32-5-seed1/metrics.jsonl",
    ]  # fmt: skip


def test_ctrl_c_ends_the_study(benchmark, monkeypatch, fake, tmp_path):
    """The exit code of an interrupted command is the study's, and what was done is in the file."""
    training = benchmark("_training")
    real = training.train

    def interrupted(folder, recipe, flags):
        if len(fake) == 3:
            raise SystemExit(training.INTERRUPTED)
        return real(folder, recipe, flags)

    monkeypatch.setattr(training, "train", interrupted)
    with pytest.raises(SystemExit) as stop:
        script(benchmark, monkeypatch, "--arms", "fresh-k100", "--json", tmp_path / "rows.json", "--runs", tmp_path)
    assert stop.value.code == 130
    assert len(json.loads((tmp_path / "rows.json").read_text(encoding="utf-8"))["rows"]) == 3


def test_an_arm_that_there_is_not(benchmark, monkeypatch, tmp_path):
    """The message names it and what there is."""
    with pytest.raises(SystemExit, match="no such arm: pool-3-k7; there are main, map"):
        script(benchmark, monkeypatch, "--arms", "pool-3-k7", "--json", tmp_path / "rows.json")


def test_the_time_is_told(benchmark, capsys):
    """Arithmetic: epochs times the time of a token, measured on a tiny text, times its tokens."""
    cost = benchmark("_noise_cost")
    study = benchmark("study_noise")
    settings = [cost.settings(study.Arm(25).flags), cost.settings(study.pool(25, 1).flags)]
    got = cost.seconds(["--corpus", "python"], 8, settings, 12)
    fixed = 2 * (12 * cost.EPOCH + 2 * cost.START * 3)
    assert got > fixed
    assert cost.seconds(["--corpus", "python"], 8, [], 12) == 0


def figures(file):
    """Perplexity by arm, rate and epochs."""
    rows = json.loads(file.read_text(encoding="utf-8"))["rows"]
    return {(row["arm"], row["lr"], row["epochs"]): row["perplexity"] for row in rows}


def test_quick(benchmark, monkeypatch, tmp_path, capsys):
    """A real run of two arms: the trials' settings, as their folders record them, and rates in the order of halving."""

    def train(folder, recipe, flags):
        more = ["--resume"] if (folder / "last.safetensors").exists() else []
        config = ["--config", str(ROOT / "benchmarks" / "recipes" / f"{recipe}.toml")]
        done = CliRunner().invoke(train_command, ["--save", str(folder), "--json", *config, *flags, *more])
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout.splitlines()[-1])

    lines = "\n".join(" ".join(f"w{w}" for w in line) for line in np.random.default_rng(7).integers(0, 30, (1500, 9)))
    for name in ("train", "valid"):
        (tmp_path / f"{name}.txt").write_text(lines[: None if name == "train" else 600] + "\n", encoding="utf-8")
    study = benchmark("study_noise")
    text = ["--train", str(tmp_path / "train.txt"), "--valid", str(tmp_path / "valid.txt")]
    monkeypatch.setitem(study.TEXTS, "ptb", (text, 8))
    monkeypatch.setattr(benchmark("_training"), "train", train)
    file, runs = tmp_path / "rows.json", tmp_path / "runs"
    given = ["--quick", "--runs", runs, "--epochs", 2, "--json"]
    script(benchmark, monkeypatch, *given, file)
    # the folders of rates whose checkpoints were deleted are there, and must not get in the way
    script(benchmark, monkeypatch, *given, tmp_path / "again.json")
    assert figures(tmp_path / "again.json") == figures(file)
    for name in ("runs", "new"):  # the run with rate 5 was kept, and has trained for more epochs than the first trial
        flags = ["--quick", "--runs", tmp_path / name, "--epochs", 2, "--rates", 5, 10]
        script(benchmark, monkeypatch, *flags, "--json", tmp_path / f"{name}.json")
    assert figures(tmp_path / "runs.json") == figures(tmp_path / "new.json")
    rows = json.loads(file.read_text(encoding="utf-8"))["rows"]
    assert {row["arm"] for row in rows} == {"fresh-k25", "pool-2-k25"}
    for row in rows:
        folder = runs / "ptb" / f"{row['arm']}-sgd-float32-{row['lr']:g}-seed1"
        recorded = json.loads((folder / "config.json").read_text(encoding="utf-8"))["train"]
        assert (recorded["lr"], recorded["num_noise"], recorded["shards"]) == (row["lr"], 25, 1)
        assert recorded["noise"] == ("pool" if row["groups"] else "fresh")
        assert len(row["curve"]) == row["epochs"] and row["curve"][-1]["perplexity"] == row["perplexity"]
        assert (row["epochs"] == 2) == ("uncovered" in row)
    assert "pool-2-k25" in capsys.readouterr().out
