"""One check from the point to the report: judge the oracle, judge the entries, name the pattern."""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from nplm.gradcheck.derivative import Array
from nplm.gradcheck.oracle import EPS64, Method, Oracle, OracleError, quiet
from nplm.gradcheck.patterns import Case, Hints, Pattern, diagnose, lengths
from nplm.gradcheck.report import ArrayReport, Report
from nplm.gradcheck.search import search
from nplm.gradcheck.tree import Leaf, Tree
from nplm.gradcheck.verdict import SAFETY, NotAnalytic, Verdict

WOBBLES = 4  # perturbed gradients
Grads = Callable[[Any], Any]
Explain = Callable[[list[str]], Mapping[str, Pattern]]
WEAK = ("some indices", "one block", "factor by index", "constant along an axis")  # say where, but not why


class Options(NamedTuple):
    """The settings that every check has."""

    only: str | Iterable[str] | None
    rtol: float
    atol: float
    rng: np.random.Generator | int
    max_entries: int
    method: Method
    raises: bool


class Claim(NamedTuple):
    """The gradient to judge."""

    arrays: list[Array]  # as they were given, one for each leaf
    flat: Array  # (n,), NaN where an array has the wrong shape
    eps: Array  # (n,)
    wobble: Array | None  # (n,)
    stale: dict[str, Pattern]


def run(
    function: Callable[[Any], Any],
    read: Callable[[Any], Array],
    tree: Tree,
    grads: Any,
    options: Options,
    integers: Mapping[str, Array],
    explain: Explain = lambda names: {},
) -> Report:
    """Judge `grads`, a structure like the tree's or a function that returns one, as the gradient of `function`.

    explain: takes the names of wrong arrays without a telling pattern, and returns those that only the caller can find.
    """
    start = time.perf_counter()
    rng = np.random.default_rng(options.rng)
    with quiet():
        try:
            oracle = Oracle(function, read, tree, rng, options.method)
        except OracleError as error:
            report = Report([], "none", failure=f"the function cannot be differentiated: {error}.")
            return finish(report, options.raises, start)
        claim = read_claim(tree, grads, rng)
        full = tree.size <= options.max_entries
        try:
            verdict, missed = _judge(oracle, claim, options, full)
        except NotAnalytic as error:
            oracle.fall_back(str(error))
            verdict, missed = _judge(oracle, claim, options, full)
        report = Report([], oracle.method, oracle.remarks + missed, evaluations=oracle.evaluations)
        report.arrays = _arrays(tree, claim, verdict, {**tree.integers, **integers}, explain)
    return finish(report, options.raises, start)


def verdict_on_vector(oracle: Oracle, claim: Claim, v: Array, rtol: float, atol: float) -> Report:
    """Judge a vector (n,) as the derivative along v of a function that returns n numbers."""
    tree = oracle.tree
    value, error = oracle.along(v)
    single = bool(claim.eps.max() > EPS64)
    spread = oracle.spread(v, value, WOBBLES, single)
    if claim.wobble is not None:
        spread = np.maximum(spread, np.minimum(claim.wobble, 64 * (spread + claim.eps * np.abs(value).max())))
    verdict = Verdict(oracle, claim.flat, claim.eps, claim.wobble, rtol, atol)
    verdict.expected = value
    verdict.resolution = 4 * error + SAFETY * (claim.eps * np.abs(value) + spread)
    verdict.wrong = ~(
        np.abs(claim.flat - value) <= np.maximum(verdict.resolution, atol + rtol * np.abs(value))
    )
    arrays = _arrays(tree, claim, verdict, tree.integers, lambda names: {})
    return Report(arrays, oracle.method, list(oracle.remarks), evaluations=oracle.evaluations)


def finish(report: Report, raises: bool, start: float) -> Report:
    """The report with its time; raises AssertionError with the report as the message if something is wrong."""
    report.seconds = time.perf_counter() - start
    if raises and not report.ok:
        raise AssertionError(f"\n{report}")
    return report


def read_claim(tree: Tree, grads: Any, rng: np.random.Generator) -> Claim:
    """The gradient to judge, and how it behaves when it is computed again."""
    x = tree.flat
    compute: Grads = grads if callable(grads) else lambda point: grads
    arrays = _read(tree, compute(tree.build(x)))
    flat = np.concatenate([_fitted(leaf, array) for leaf, array in zip(tree.leaves, arrays, strict=True)])
    eps = np.concatenate(
        [
            np.full(leaf.array.size, max(np.finfo(array.dtype).eps, EPS64))
            for leaf, array in zip(tree.leaves, arrays, strict=True)
        ]
    )
    if not callable(grads):
        return Claim(arrays, flat, eps, None, {})
    again = _read(tree, compute(tree.build(x)))
    moved = [
        _read(tree, compute(tree.build(x * (1 + tree.eps * rng.choice([-1.0, 1.0], x.size)))))
        for _ in range(WOBBLES)
    ]
    compute(tree.build(x + 0.1 * rng.normal(size=x.size)))
    last = _read(tree, compute(tree.build(x)))
    stale = _stale(tree, arrays, last) | _stale(tree, arrays, again)
    wobble = np.zeros(x.size)
    for trial in moved:
        parts = [_fitted(leaf, array) for leaf, array in zip(tree.leaves, trial, strict=True)]
        wobble = np.fmax(wobble, np.abs(np.concatenate(parts) - flat))
    for leaf in tree.leaves:
        if leaf.name in stale:  # a gradient that changes by itself must not widen its own tolerance
            wobble[leaf.span] = 0.0
    return Claim(arrays, flat, eps, wobble, stale)


def _read(tree: Tree, grads: Any) -> list[Array]:
    """A copy of the gradient of every leaf; no gradient is a gradient of zero."""
    arrays = []
    for leaf, array in zip(tree.leaves, tree.match(grads), strict=True):
        array = np.zeros_like(leaf.array) if array is None or array.dtype == object else array
        arrays.append(np.array(array if array.dtype.kind == "f" else array.astype(np.float64)))
    return arrays


def _fitted(leaf: Leaf, array: Array) -> Array:
    """The array as a vector; NaN if it has not the shape of its parameter."""
    return (
        array.ravel().astype(np.float64)
        if array.shape == leaf.array.shape
        else np.full(leaf.array.size, np.nan)
    )


def _stale(tree: Tree, first: list[Array], second: list[Array]) -> dict[str, Pattern]:
    found = {}
    for leaf, one, two in zip(tree.leaves, first, second, strict=True):
        size = np.abs(one).max(initial=0.0)
        limit = 1e3 * np.finfo(one.dtype).eps * size
        if one.shape == two.shape and np.allclose(
            one, two, rtol=0.0, atol=np.nan_to_num(limit), equal_nan=True
        ):
            continue
        twice = np.abs(two - 2 * one).max() <= 1e-6 * size
        text = (
            "it is twice as large: the buffer is not set to zero"
            if twice
            else "a buffer keeps what an earlier call left"
        )
        found[leaf.name] = Pattern(
            "stale buffer", f"the same call gives another gradient the second time; {text}"
        )
    return found


def _judge(oracle: Oracle, claim: Claim, options: Options, full: bool) -> tuple[Verdict, list[str]]:
    verdict = Verdict(oracle, claim.flat, claim.eps, claim.wobble, options.rtol, options.atol)
    missed: list[str] = []
    if full:
        verdict.entries(range(claim.flat.size))
    else:
        missed = search(verdict)
    verdict.state_resolution()
    return verdict, missed


def _arrays(
    tree: Tree, claim: Claim, verdict: Verdict, integers: Mapping[str, Array], explain: Explain
) -> list[ArrayReport]:
    """The verdict on every array, with the pattern where it is wrong."""

    def shaped(values: Array, leaf: Leaf) -> Array:
        return values[leaf.span].reshape(leaf.array.shape)

    expected = {leaf.name: shaped(verdict.expected, leaf) for leaf in tree.leaves}
    known = {leaf.name: leaf.array for leaf in tree.leaves} | dict(integers)
    hints = Hints(expected, integers, dict(reversed(list(lengths(known)))))
    reports = []
    for leaf, got in zip(tree.leaves, claim.arrays, strict=True):
        report = ArrayReport(
            leaf.name,
            leaf.array.shape,
            str(got.dtype),
            shaped(claim.flat, leaf),
            expected[leaf.name],
            shaped(verdict.resolution, leaf),
            shaped(verdict.wrong, leaf),
            int(verdict.kink[leaf.span].sum()),
        )
        if leaf.name in claim.stale:
            report.pattern = claim.stale[leaf.name]
        elif report.wrong.any():
            size = np.nanmax(np.abs(report.expected), initial=0.0)
            near = np.nanmax(np.where(np.isfinite(report.resolution), report.resolution, 0.0), initial=0.0)
            tolerance = max(1e-6 * float(size), 2 * float(near))
            case = Case(
                leaf.name, leaf.array.astype(np.float64), got, report.expected, report.wrong, tolerance
            )
            report.pattern = diagnose(case, hints)
        reports.append(report)
    vague = [r for r in reports if r.wrong.any() and (r.pattern is None or r.pattern.kind in WEAK)]
    special = explain([report.name for report in vague]) if vague else {}
    for report in vague:
        report.pattern = special.get(report.name, report.pattern)
    return reports
