"""Pictures of the recorded results in benchmarks/results/, for the pages of findings."""

import sys
from pathlib import Path
from typing import Any

from _svg import Axes, Picture

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))
from _tables import groups, pick, read
from study_faults import CLEAN, judge


def result(name: str) -> tuple[str, list[dict[str, Any]]]:
    """The processor and the rows of a result file."""
    (found,) = read(f"{name}.json")
    return found["machine"]["cpu"].replace("(R)", "").replace(" Processor", ""), found["rows"]


def speed() -> Picture:
    """nplm's speed in training relative to PyTorch's: a bar and the range of the samples for each shape."""
    p = Picture(780, 370)
    for name, colour in (("one thread", "a"), ("two threads", "b")):
        x = 190 + 130 * (colour == "b")
        p.box(x, 14, 22, 12, colour=colour, fill=colour)
        p.text(x + 30, 20, name, size=13, anchor="start")
    for left, precision, file in ((170, "float32", "bench_train"), (480, "bfloat16", "bench_train-bfloat16")):
        cpu, rows = result(file)
        axes = Axes(p, (left, 70, 270, 250), (0, 3.5), (0, 5))
        axes.ticks((0, 1, 2, 3), (), "speed relative to PyTorch", "")
        p.text(left + 135, 50, f"{precision}, {cpu}", bold=True)
        for place, (_, same) in enumerate(groups(rows, "name")):
            speed_bars(axes, place, same)
        p.line(axes.place(1, 0), axes.place(1, 5), dashed=True)
    for place, (_, same) in enumerate(groups(rows, "name")):
        streams, _, _, hidden, layers, _, words = same[0]["shape"]
        p.text(160, 87 + 50 * place, f"{layers} x {hidden} units", size=13, anchor="end")
        p.text(160, 104 + 50 * place, f"B = {streams}, V = {words:,}", size=12, anchor="end")
    return p


def speed_bars(axes: Axes, place: int, rows: list[dict[str, Any]]) -> None:
    """The two bars of a shape, the one for one thread above."""
    for row in rows:
        zero, y = axes.place(0, 5 - place)
        y += 18 * row["threads"] - 10
        low, x, high = (axes.place(row[key], 0)[0] for key in ("ratio_low", "ratio", "ratio_high"))
        colour = "a" if row["threads"] == 1 else "b"
        axes.picture.box(zero, y, x - zero, 13, colour=colour, fill=colour)
        axes.picture.line((low, y + 6.5), (high, y + 6.5))
        axes.picture.text(high + 5, y + 6.5, f"{row['ratio']:.2f}", size=12, anchor="start")


def perplexity_time() -> Picture:
    """Validation perplexity against seconds of training on the Penn Treebank, by objective."""
    p = Picture(720, 380)
    axes = Axes(p, (60, 40, 620, 280), (30, 1500), (112, 260), log="xy")
    axes.ticks((30, 100, 300, 1000), (115, 120, 140, 170, 200, 250), "seconds of training", "validation perplexity")
    names = {
        "softmax": ("full softmax", "ink"), "sampled-softmax-100": ("sampled softmax, K = 100", "d"),
        "nce-100": ("NCE, K = 100", "b"), "nce-500": ("NCE, K = 500", "a"),
    }  # fmt: skip
    for place, (case, (words, colour)) in enumerate(names.items()):
        (row,) = pick(result("study_objectives")[1], case=case, seed=1)
        points = [(point["seconds"], point["perplexity"]) for point in row["curve"]]
        axes.curve(*zip(*points, strict=True), colour)
        p.line((470, 66 + 17 * place), (500, 66 + 17 * place), colour=colour, width=2)
        p.text(510, 66 + 17 * place, words, colour, size=13, anchor="start")
    return p


def machines() -> Picture:
    """Predicted speed-up against the number of machines, with as many streams on each, by model and network."""
    p = Picture(780, 330)
    growth = pick(result("bench_scale")[1], kind="growth")
    for place, (_, same) in enumerate(groups(growth, "name")):
        streams, _, _, hidden, layers, _, words = same[0]["shape"]
        axes = Axes(p, (50 + 250 * place, 50, 190, 220), (1, 1000), (0.7, 1000), log="xy")
        axes.ticks((1, 10, 100, 1000), (1, 10, 100, 1000), "machines", "")
        p.text(145 + 250 * place, 14, f"{layers} x {hidden} units, V = {words:,}", size=13, bold=True)
        p.text(145 + 250 * place, 33, f"speed-up, {streams} streams per machine", size=12)
        axes.curve((1, 1000), (1, 1000), "faint", dashed=True)
        for rank, (((gbit,), line), colour) in enumerate(zip(groups(same, "gbit"), "bca", strict=True)):
            axes.curve([row["machines"] for row in line], [row["weak_speedup"] for row in line], colour)
            p.text(60 + 250 * place, 98 - 16 * rank, f"{gbit} Gbit/s", colour, size=12, anchor="start")
    return p


def instruments() -> Picture:
    """How many of the planted faults each instrument detects, and how many no other one does."""
    names = {
        "by_loss": "the loss curve", "by_perplexity": "perplexity", "by_log_z": "log Z",
        "by_first_loss": "the first loss", "by_gradient": "the gradient check", "by_trace": "the trace",
    }  # fmt: skip
    faults = [row for row in judge(result("study_faults")[1]) if row["fault"] != CLEAN]
    p = Picture(720, 330)
    axes = Axes(p, (170, 20, 460, 250), (0, len(faults)), (0, len(names)))
    axes.ticks((*range(0, len(faults), 10), len(faults)), (), f"planted faults, of {len(faults)}", "")
    for place, (key, words) in enumerate(names.items()):
        seen = [row for row in faults if row[key]]
        alone = [row for row in seen if not any(row[other] for other in names if other != key)]
        x, y = axes.place(0, len(names) - place)
        p.text(x - 10, y + 22, words, anchor="end")
        p.box(x, y + 10, axes.place(len(seen), 0)[0] - x, 24, colour="a")
        if alone:
            p.box(x, y + 10, axes.place(len(alone), 0)[0] - x, 24, colour="a", fill="a")
        told = f"{len(seen)}, {len(alone)} of them by no other" if alone else f"{len(seen)}"
        p.text(axes.place(len(seen), 0)[0] + 8, y + 22, told, size=13, anchor="start")
    return p
