"""Gradients with too many entries to check each: random directions, a random sample, and bisection.

A direction v with independent normal components sees the error e of a gradient as e . v, which is normal with the
standard deviation |e|: so an error of norm E hides below the resolution r of D directions with the probability
erf(r / (E sqrt 2))^D, whether it sits in one entry or in many.
"""

import math

import numpy as np

from nplm.gradcheck.derivative import Array
from nplm.gradcheck.tree import Leaf
from nplm.gradcheck.verdict import Verdict, as_indices

DIRECTIONS = 4  # with components of one size
RELATIVE = 2  # and with components that make the entries' shares equal, so that small entries count
SAMPLES = 64  # entries in all
AROUND = 32  # entries of every row and column through a wrong one, and of its array at random
VISIBLE = 10.0  # the probability of a miss is stated for errors so many times as large as the resolution


def search(verdict: Verdict) -> list[str]:
    """Judge a sample of entries and random directions of every array; name the entries behind a direction that fails.

    Returns one line for each array: what was done, and what may have been missed.
    """
    tree, rng = verdict.oracle.tree, verdict.oracle.rng
    share = max(16, SAMPLES // len(tree.leaves))
    for leaf in tree.leaves:
        everything = np.arange(leaf.span.start, leaf.span.stop)
        verdict.entries(rng.permutation(everything)[:share])
    lines = []
    for leaf in tree.leaves:
        if leaf.array.size > share:
            lines.append(_directions(verdict, leaf, share))
    for leaf in tree.leaves:
        wrong = np.flatnonzero(verdict.wrong[leaf.span]) + leaf.span.start
        if wrong.size and leaf.array.size > share:
            verdict.entries(around(int(wrong[0]), leaf, rng))
    return lines


def _directions(verdict: Verdict, leaf: Leaf, share: int) -> str:
    """Judge directions of one array, bisect those that fail, and state the probability of a miss."""
    rng, span = verdict.oracle.rng, leaf.span
    size = np.abs(verdict.got[span])
    weights = [np.ones(size.size)] * DIRECTIONS
    if size.max(initial=0.0) > 0 and verdict.oracle.complex:
        floor = 1e-8 * size.max()
        weights += [floor / np.maximum(size, floor)] * RELATIVE
    resolution, failed = 0.0, False
    for k, weight in enumerate(weights):
        v = np.zeros(verdict.got.size)
        v[span] = weight * rng.normal(size=size.size)
        off, seen = verdict.direction(v)
        if k < DIRECTIONS:
            resolution = max(resolution, seen)
        if not off <= seen and not failed:
            failed = True
            verdict.entries(bisect(verdict, v, np.arange(span.start, span.stop)))
    missed = math.erf(1 / VISIBLE / math.sqrt(2)) ** DIRECTIONS
    return (
        f"{leaf.name}: {share} of {leaf.array.size:,} entries and {len(weights)} random directions. A wrong entry or"
        f" block is missed with probability below {missed:.0e} if the norm of its error is above"
        f" {VISIBLE * resolution:.1e}, and, if it is smaller and fills a share s of the entries, (1 - s)^{share}."
    )


def bisect(verdict: Verdict, v: Array, inside: Array) -> Array:
    """The entries (one, unless the error is too thin to be split) behind the error of a direction v."""
    while inside.size > 1:
        halves = np.array_split(inside, 2)
        ratios = []
        for half in halves:
            part = np.zeros_like(v)
            part[half] = v[half]
            off, seen = verdict.direction(part)
            ratios.append(np.inf if np.isnan(off) else off / max(seen, 1e-300))
        worse = int(np.argmax(ratios))
        if ratios[worse] <= 1:
            break
        inside = halves[worse]
    return inside[:AROUND]


def around(j: int, leaf: Leaf, rng: np.random.Generator) -> Array:
    """Entries that tell what is wrong with an array: the lines along every axis through entry j, and some others."""
    grid = as_indices(leaf.span, leaf.array.shape)
    index = np.unravel_index(j - leaf.span.start, leaf.array.shape)
    lines = [rng.permutation(grid.ravel())[:AROUND]]
    for axis in range(grid.ndim):
        where = list(index)
        line = grid[tuple(slice(None) if a == axis else where[a] for a in range(grid.ndim))]
        ends = [line[[0, -1]], line[rng.permutation(line.size)[:AROUND]]]
        lines += ends
    return np.concatenate(lines)
