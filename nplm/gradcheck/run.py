"""One check from start to report: test the oracle, check the entries, name the pattern."""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from nplm.gradcheck.claim import Claim
from nplm.gradcheck.derivative import Array
from nplm.gradcheck.diagnose import diagnose
from nplm.gradcheck.oracle import EPS64, Method, Oracle, OracleError, quiet
from nplm.gradcheck.patterns import Case, Hints, Pattern, lengths
from nplm.gradcheck.report import ArrayReport, Report
from nplm.gradcheck.search import search
from nplm.gradcheck.tree import Leaf, Tree
from nplm.gradcheck.verdict import PROBES, SAFETY, NotAnalytic, Verdict

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


def run(
    function: Callable[[Any], Any],
    read: Callable[[Any], Array],
    tree: Tree,
    grads: Any,
    options: Options,
    near: Mapping[str, Array],
    explain: Explain = lambda names: {},
    upstream: float = 0.0,
) -> Report:
    """Check `grads`, a structure like the tree's or a function that returns one, as the gradient of `function`.

    near: arrays that the function uses, which help the diagnosis.
    upstream: the largest entry of the gradient of a layer's output.
    explain: takes the names of wrong arrays without a specific pattern, and returns those that only the caller knows.
    """
    start = time.perf_counter()
    rng = np.random.default_rng(options.rng)
    with quiet():
        try:
            oracle = Oracle(function, read, tree, rng, options.method)
        except OracleError as error:
            report = Report([], "none", failure=f"the function cannot be differentiated: {error}.")
            return finish(report, options.raises, start)
        claim = Claim(tree, grads, rng, upstream)
        full = tree.size <= options.max_entries
        try:
            verdict, missed = _judge(oracle, claim, options, full)
        except NotAnalytic as error:
            oracle.fall_back(str(error))
            verdict, missed = _judge(oracle, claim, options, full)
        report = Report([], oracle.method, oracle.remarks + missed, evaluations=oracle.evaluations)
        report.arrays = _arrays(tree, claim, verdict, near, explain)
    return finish(report, options.raises, start)


def verdict_on_vector(oracle: Oracle, claim: Claim, v: Array, rtol: float, atol: float) -> Report:
    """Check a vector (n,) as the derivative along v of a function that returns n numbers."""
    tree = oracle.tree
    value, error = oracle.along(v)
    single = bool(claim.eps.max() > EPS64)
    spread = oracle.spread(v, value, PROBES, single)
    if claim.wobble is not None:
        spread = np.maximum(spread, np.minimum(claim.wobble, 64 * (spread + claim.eps * np.abs(value).max())))
    verdict = Verdict(oracle, claim, rtol, atol)
    verdict.expected = value
    verdict.resolution = 4 * error + SAFETY * (claim.eps * np.abs(value) + spread)
    verdict.wrong = ~(np.abs(claim.flat - value) <= np.maximum(verdict.resolution, atol + rtol * np.abs(value)))
    arrays = _arrays(tree, claim, verdict, {}, lambda names: {})
    return Report(arrays, oracle.method, list(oracle.remarks), evaluations=oracle.evaluations)


def finish(report: Report, raises: bool, start: float) -> Report:
    """The report with its time; raises AssertionError with the report as the message if something is wrong."""
    report.seconds = time.perf_counter() - start
    if raises and not report.ok:
        raise AssertionError(f"\n{report}")
    return report


def _judge(oracle: Oracle, claim: Claim, options: Options, full: bool) -> tuple[Verdict, list[str]]:
    verdict = Verdict(oracle, claim, options.rtol, options.atol)
    missed: list[str] = []
    if full:
        verdict.entries(range(claim.flat.size))
    else:
        missed = search(verdict)
    verdict.state_resolution()
    return verdict, missed


def _arrays(
    tree: Tree, claim: Claim, verdict: Verdict, near: Mapping[str, Array], explain: Explain
) -> list[ArrayReport]:
    """The verdict on every array, with the pattern where it is wrong."""

    def shaped(values: Array, leaf: Leaf) -> Array:
        return values[leaf.span].reshape(leaf.array.shape)

    expected = {leaf.name: shaped(verdict.expected, leaf) for leaf in tree.leaves}
    everything = {leaf.name: leaf.array for leaf in tree.leaves} | tree.integers | dict(near)
    integers = {name: array for name, array in everything.items() if array.dtype.kind in "iu"}
    hints = Hints(expected, integers, dict(reversed(list(lengths(everything)))))
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
            blur = np.nanmax(np.where(np.isfinite(report.resolution), report.resolution, 0.0), initial=0.0)
            tolerance = max(1e-6 * float(size), 2 * float(blur))
            case = Case(leaf.name, leaf.array.astype(np.float64), got, report.expected, report.wrong, tolerance)
            report.pattern = diagnose(case, hints)
        reports.append(report)
    vague = [r for r in reports if r.wrong.any() and (r.pattern is None or r.pattern.kind in WEAK)]
    special = explain([report.name for report in vague]) if vague else {}
    for report in vague:
        other = special.get(report.name)
        if other is not None and (report.pattern is None or other.kind != report.pattern.kind):
            report.pattern = other
    return reports


def number(result: Any) -> Array:
    """A loss as a vector of one number."""
    array = np.asarray(result)
    if array.size != 1 or array.dtype.kind not in "fciu":
        what = f"an array of shape {array.shape}" if array.size != 1 else repr(result)
        raise TypeError(
            f"the loss returned {what}; it must return one number. For a layer that returns arrays use"
            " check_layer(forward, backward, *inputs)"
        )
    return array.reshape(1) if array.dtype.kind in "fc" else array.reshape(1).astype(np.float64)
