"""What chunks and noise groups do: the findings of docs/patent.md.

Functions of rows, each yielding plain sentences; none where the rows are missing.
"""

from collections.abc import Iterable
from typing import Any

from _phrases import compared, figure, listed, percent, seeds, versus
from _rows import Rows, groups, mean, pick

LIVES = {
    "sequence": "redrawn for every sequence", "epoch": "redrawn for every epoch", "never": "never redrawn",
}  # fmt: skip


# ---- the number of chunks


def number_of_chunks(trained: Rows, gradients: Rows) -> Iterable[str]:
    """What N costs or buys: with more updates, with reach only, and in the gradient at fixed parameters."""
    for k, (few, first), (many, last), best in _ends(pick(trained, kind="split")):
        yield (
            f"With B fixed and K = {k}, N = {many} gives {mean(last, 'updates') / mean(first, 'updates'):.1f} times"
            f" the updates of N = {few}, and the valid perplexity after {len(last[0]['curve'])} epochs is"
            f" {compared(last, first, f'that with N = {few}', 'perplexity')}; of the N tried, {best} has the"
            " lowest."
        )
    for k, (few, first), (many, last), best in _ends(pick(trained, kind="matched")):
        yield (
            f"At equal updates, B = N, and K = {k}, the perplexity with N = {many} is"
            f" {compared(last, first, f'that with N = {few}', 'perplexity')}; of the N tried, {best} has the lowest."
        )
    yield from _truncation(pick(gradients, kind="truncation", parameters="all"))


def _ends(rows: Rows) -> Iterable[tuple[Any, ...]]:
    """For each K with two N or more: K, the least N and its rows, the most and its rows, the N of the lowest."""
    for (k,), same in _falling(rows, "num_noise"):
        by_n = _rising(same, "chunks")
        if len(by_n) > 1:
            yield k, by_n[0], by_n[-1], min(by_n, key=lambda found: mean(found[1], "perplexity"))[0]


def _truncation(rows: Rows) -> Iterable[str]:
    """The bias of the cut gradient, at the least and the most chunks."""
    for (k,), cuts in _falling(rows, "num_noise"):
        few, many = (end(cuts, key=lambda row: row["chunks"]) for end in (min, max))
        yield (
            f"At fixed parameters and K = {k}, the expected gradient of a sequence cut into {few['chunks']} chunks is"
            f" {percent(few['bias'])} of its length away from the uncut one, cut into {many['chunks']}"
            f" {percent(many['bias'])} ({percent(many['bias_of_mean'])} after adding up {many['sequences']}"
            f" sequences); single sequences' uncut gradients are {percent(many['spread'])} away from their mean."
        )


# ---- groups that chunks share


def shared_noise(trained: Rows, gradients: Rows, speed: Rows) -> Iterable[str]:
    """What M groups for N chunks cost against fresh noise: in the gradient, and after training; and what they save."""
    reuse = [row for row in gradients if row["kind"] == "reuse" and row["parameters"] == "all" and row["groups"]]
    for (k,), rows in _falling(pick(reuse, group_map="contiguous"), "num_noise"):
        grown = listed(f"{row['growth']:.1f} times with M = {row['groups']}" for row in rows)
        yield (
            f"At fixed parameters and K = {k}, the variance that noise gives the gradient of a sequence of"
            f" {rows[0]['chunks']} chunks grows, against that with fresh groups, {grown}."
        )
    if off := [row["unbiased"] for row in reuse]:
        yield (
            "The mean of the gradient with shared groups, drawn anew: its squared distance from the expected one is"
            f" {min(off):.2f} to {max(off):.2f} of what chance gives."
        )
    for (k, name), pools in _falling(pick(trained, kind="pool", redraw="sequence"), "num_noise", "group_map"):
        if fresh := _fresh(trained, pools):
            by_m = _rising(pools, "groups")
            yield (
                f"Trained with K = {k} on as many tokens, {name} groups redrawn for every sequence, the valid"
                f" perplexity is, set against that with fresh noise ({figure(mean(fresh, 'perplexity'))}),"
                f" {listed(f'{_over(same, fresh)} with M = {m}' for m, same in by_m)}"
                f" ({seeds(fresh, *(same for _, same in by_m))})."
            )
    if reuse and (steps := pick(speed, threads=1)):
        share = max(row["breakdown"]["noise"] / row["breakdown"]["total"] for row in steps)
        yield (
            f"Drawing fresh noise takes {percent(share)} of a training step's time in that shape of"
            " [speed and memory](benchmarks.md) where it takes most: a pool can save no more than that."
        )


def pool_life(trained: Rows) -> Iterable[str]:
    """Groups redrawn for every sequence, every epoch, or never: perplexity, drift of log Z, what is never covered."""
    for (k, m), pools in _falling(pick(trained, kind="pool", group_map="contiguous"), "num_noise", "groups"):
        lives = {life: pick(pools, redraw=life) for life in LIVES if pick(pools, redraw=life)}
        fresh = _fresh(trained, pools)
        if fresh and set(lives) - {"sequence"}:
            yield (
                f"With K = {k} and M = {m} the valid perplexity is, set against that with fresh noise"
                f" ({figure(mean(fresh, 'perplexity'))}),"
                f" {listed(f'{_over(same, fresh)} {LIVES[life]}' for life, same in lives.items())}"
                f" ({seeds(fresh, *lives.values())})." + _drift(lives.get("never", []), fresh)
            )


def _drift(never: Rows, fresh: Rows) -> str:
    """log Z and coverage of groups that are never redrawn."""
    if not never:
        return ""
    first, last = (mean([row["curve"][n] for row in never], "mean_log_z") for n in (0, -1))
    return (
        f" Never redrawn, mean log Z goes from {first:+.2f} after the first epoch to {last:+.2f} after the last, and"
        f" {percent(mean(never, 'never_covered'))} of the noise law is on words that never come"
        f" ({percent(mean(fresh, 'never_covered'))} with fresh noise)."
    )


def _fresh(trained: Rows, pools: Rows) -> Rows:
    """The runs with fresh noise, and K, N and B otherwise, that pools are set against."""
    same = {key: pools[0][key] for key in ("num_noise", "chunks", "batch_size")}
    return pick(trained, kind="split", **same)


def _over(rows: Rows, fresh: Rows) -> str:
    """3.1 % above, at 120.3."""
    value, base = mean(rows, "perplexity"), mean(fresh, "perplexity")
    return f"{versus(value, base)} it ({figure(value)})"


def _rising(rows: Rows, key: str) -> list[tuple[int, Rows]]:
    """Rows by a key, the smallest first."""
    return sorted((value, same) for (value,), same in groups(rows, key))


def _falling(rows: Rows, *keys: str) -> Iterable[tuple[tuple[int | str, ...], Rows]]:
    """Rows by the keys, the largest value of the first (K) first."""
    return sorted(groups(rows, *keys), key=lambda found: -found[0][0])
