"""Gradient checkers side by side: faults found, false alarms, time, and what they say.

    OPENBLAS_NUM_THREADS=1 python benchmarks/bench_gradcheck.py     writes benchmarks/results/bench_gradcheck.json
    python benchmarks/bench_gradcheck.py --quick      a few cases, for tests: written only with --json
    python benchmarks/bench_gradcheck.py --page       fills docs/howto/gradcheck.md from the recorded result

Every checker gets the same functions of one flat float64 vector: the right ones and the planted faults of
tests/gradcheck_cases.py, a layer as the sum of its output times a fixed random array.  PyTorch and JAX see them as a
custom function around NumPy.  SciPy and numdifftools give no verdict: here a gradient counts as wrong if it is off by
more than 1e-5 (SciPy: of the gradient's norm) or 1e-6 (numdifftools: of an entry, plus 1e-8).
"""

import json
import re
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import _record
import numpy as np
from _tables import Section
from _timing import finish

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import gradcheck_cases
import gradcheck_random
from _timing import parser

from nplm.gradcheck import Report, check, check_layer
from nplm.gradcheck.layer import Layer
from nplm.gradcheck.tree import Tree
from nplm.reference import model

TABLE = Section(
    "Gradient checkers",
    "",
    "bench_gradcheck.json",
    {
        "checker": "checker", "found": "found:d", "faults": "faults:d", "false alarms": "false_alarms:d",
        "right": "right:d", "ms": "milliseconds:.1f",
    },
)  # fmt: skip
SHOWN = "one entry dropped"  # the fault whose message is kept
NOT_FLOAT64 = ("float32 parameters",)


class Problem(NamedTuple):
    """A loss and its gradient as functions of a flat vector, and the same for our own checker."""

    name: str
    loss: Callable[[Any], float]
    grads: Callable[[Any], Any]
    x: Any
    ours: Callable[[], Report]


def right() -> list[Problem]:
    """The functions whose gradient is right."""
    problems = []
    for name, case in gradcheck_cases.right().items():
        if name not in NOT_FLOAT64:
            ours = lambda case=case: check(*case, raises=False)  # noqa: E731
            problems.append(_flat(name, Tree(case.params), case.loss, case.grads, ours))
    return problems


def faults() -> list[Problem]:
    """The planted faults."""
    problems = []
    for name, fault in gradcheck_cases.faults().items():
        layer = Layer(fault.forward, fault.backward, fault.inputs, None, np.random.default_rng(0))
        parts = (fault.forward, fault.backward, *fault.inputs)
        ours = lambda parts=parts: check_layer(*parts, raises=False)  # noqa: E731
        problems.append(_flat(name, Tree(layer.point), layer.loss, layer.grads, ours))
    return problems


def _flat(name: str, tree: Tree, loss: Any, grads: Any, ours: Callable[[], Report]) -> Problem:
    def flat_loss(x: Any) -> float:
        return float(np.asarray(loss(tree.build(np.asarray(x)))).ravel()[0])

    def flat_grads(x: Any) -> Any:
        parts = []
        for leaf, part in zip(tree.leaves, tree.match(grads(tree.build(np.asarray(x)))), strict=True):
            part = np.zeros(leaf.array.shape) if part is None or part.dtype == object else part
            if part.shape != leaf.array.shape:
                raise ValueError(f"gradient of shape {part.shape} for {leaf.array.shape}")
            parts.append(part.ravel().astype(np.float64))
        return np.concatenate(parts)

    return Problem(name, flat_loss, flat_grads, tree.flat, ours)


# ---- the checkers: each returns the message of a gradient that it calls wrong, and an empty text otherwise


def ours(problem: Problem) -> str:
    report = problem.ours()
    return "" if report.ok else str(report)


def torch(problem: Problem) -> str:
    import torch

    class Function(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return torch.tensor(problem.loss(x.detach().numpy()), dtype=torch.float64)

        @staticmethod
        def backward(ctx: Any, dy: Any) -> Any:
            (x,) = ctx.saved_tensors
            return dy * torch.from_numpy(problem.grads(x.detach().numpy()))

    x = torch.tensor(problem.x, requires_grad=True)
    return _message(lambda: torch.autograd.gradcheck(Function.apply, (x,)))


def jax(problem: Problem) -> str:
    import jax
    from jax.test_util import check_grads

    jax.config.update("jax_enable_x64", True)
    scalar, vector = (jax.ShapeDtypeStruct(shape, np.float64) for shape in ((), problem.x.shape))

    @jax.custom_vjp
    def function(x: Any) -> Any:
        return jax.pure_callback(lambda x: np.float64(problem.loss(x)), scalar, x)

    def backward(x: Any, dy: Any) -> Any:
        return (dy * jax.pure_callback(lambda x: problem.grads(x), vector, x),)

    function.defvjp(lambda x: (function(x), x), backward)
    return _message(lambda: check_grads(function, (problem.x,), order=1, modes=["rev"]))


def scipy(problem: Problem) -> str:
    from scipy.optimize import check_grad

    def run() -> None:
        error = check_grad(problem.loss, problem.grads, problem.x)
        size = np.linalg.norm(problem.grads(problem.x))
        assert error <= 1e-5 * max(size, 1.0), f"{error:.17g}"

    return _message(run)


def numdifftools(problem: Problem) -> str:
    import numdifftools

    def run() -> None:
        expected = np.atleast_1d(numdifftools.Gradient(problem.loss)(problem.x))
        close = np.isclose(problem.grads(problem.x), expected, rtol=1e-6, atol=1e-8)
        assert close.all(), np.array2string(expected)

    return _message(run)


CHECKERS: dict[str, tuple[Callable[[Problem], str], str]] = {
    "nplm.gradcheck": (ours, "nplm-nce"),
    "torch.autograd.gradcheck": (torch, "torch"),
    "jax.test_util.check_grads": (jax, "jax"),
    "scipy.optimize.check_grad": (scipy, "scipy"),
    "numdifftools.Gradient": (numdifftools, "numdifftools"),
}


def _message(run: Callable[[], Any]) -> str:
    try:
        run()
    except Exception as error:
        return str(error) or type(error).__name__
    return ""


def compare(quick: bool) -> Iterator[dict[str, Any]]:
    """A row for every checker that is installed."""
    step = 9 if quick else 1
    good, bad = right()[::step], [p for k, p in enumerate(faults()) if k % step == 0 or p.name == SHOWN]
    for name, (checker, package) in CHECKERS.items():
        try:
            release = version(package)
            checker(good[0])
        except ImportError:
            print(f"{name}: not installed", file=sys.stderr)
            continue
        start = time.perf_counter()
        alarms = [problem.name for problem in good if checker(problem)]
        messages = {problem.name: checker(problem) for problem in bad}
        yield {
            "checker": name,
            "version": release,
            "right": len(good),
            "false_alarms": len(alarms),
            "alarms": alarms,
            "faults": len(bad),
            "found": sum(map(bool, messages.values())),
            "missed": [key for key, text in messages.items() if not text],
            "milliseconds": 1e3 * (time.perf_counter() - start) / (len(good) + len(bad)),
            "message": messages[SHOWN][:1500],
        }


def named() -> dict[str, Any]:
    """How many patterns of the list are named, and the resolution where the complex step holds."""
    count = hits = 0
    for fault in gradcheck_cases.faults().values():
        if fault.pattern is not None:
            pattern = check_layer(fault.forward, fault.backward, *fault.inputs, raises=False)[fault.where].pattern
            count += 1
            hits += pattern is not None and pattern.kind == fault.pattern
    reports = [check(*c) for name, c in gradcheck_cases.right().items() if name not in NOT_FLOAT64]
    known = [a.relative_resolution for r in reports if r.method == "complex step" for a in r.arrays]
    return {"patterns": count, "named": hits, "resolution": float(np.nanmax(known)), "analytic": len(known)}


def speed() -> Iterator[dict[str, Any]]:
    """Least seconds, of five runs, of a sampled check of 90,000 parameters, and of a full check of an LSTM chunk."""
    rng = np.random.default_rng(0)
    x, y, w = (rng.normal(size=shape) for shape in ((8, 300), (8, 300), (300, 300)))
    yield _timed("least squares", lambda: check(lambda w: ((x @ w - y) ** 2).sum(), w, lambda w: 2 * x.T @ (x @ w - y)))
    vocab, width, steps, batch, noise = 30, 12, 5, 3, 7
    shapes = {"encoder.weight": (vocab, width), "decoder.weight": (vocab, width), "decoder.bias": (vocab,)}
    shapes |= {f"rnn.weight_{kind}_l0": (4 * width, width) for kind in ("ih", "hh")} | {"rnn.bias_l0": (4 * width,)}
    params = {name: rng.normal(0, 0.5, shape) for name, shape in shapes.items()}
    words, targets = rng.integers(0, vocab, (2, steps, batch))
    rest = (rng.integers(0, vocab, noise), *rng.normal(size=(2, 1, batch, width)), np.full(vocab, -np.log(vocab)))
    yield _timed(
        "LSTM chunk",
        lambda: check(
            lambda p: model.loss(p, words, targets, *rest), params, lambda p: model.gradients(p, words, targets, *rest)
        ),
    )


def _timed(name: str, run: Callable[[], Report]) -> dict[str, Any]:
    run()
    reports = [run() for _ in range(5)]
    entries, checked = (sum(n(a) for a in reports[0].arrays) for n in (lambda a: a.got.size, lambda a: a.checked))
    seconds = min(report.seconds for report in reports)  # the machine is shared
    return {"case": name, "entries": entries, "checked": checked, "seconds": seconds}


PAGE = _record.ROOT / "docs" / "howto" / "gradcheck.md"
BLOCK = re.compile(r"(<!-- begin gradcheck -->\n).*(<!-- end gradcheck -->)", re.S)


def filled(page: str, rows: list[dict[str, Any]]) -> str:
    """The page with the recorded figures between its markers."""
    compared = [row for row in rows if "checker" in row]
    facts = {key: value for row in rows if "checker" not in row for key, value in row.items()}
    lines = ["| checker | faults found | false alarms | ms |", "|---|---|---|---|"]
    for row in compared:
        found, alarms = f"{row['found']} of {row['faults']}", f"{row['false_alarms']} of {row['right']}"
        lines.append(f"| {row['checker']} {row['version']} | {found} | {alarms} | {row['milliseconds']:.0f} |")
    lines += [
        "",
        f"nplm.gradcheck names the pattern of {facts['named']} of the {facts['patterns']} faults that have one. Where"
        " the complex step can be used, the median relative resolution of an array's entries is at most"
        f" {facts['resolution']:.0e} for every array. In {facts['runs']:,} random runs with a correct gradient there"
        f" were {facts['false_alarms_of_runs'] or 'no'} false alarms.",
        "",
    ]
    lines += ["Time of a check, the fastest of five runs with one BLAS thread:", ""]
    for row in rows:
        if "case" in row:
            share = f"{row['checked']:,} of {row['entries']:,} entries checked one by one"
            lines.append(f"- {row['case']}, {share}: {row['seconds']:.2f} s")
    for key, what in (
        ("missed", "Faults that at least one of the others misses"),
        ("alarms", "Correct gradients that at least one of the others rejects"),
    ):
        names = dict.fromkeys(name for row in compared[1:] for name in row[key])
        lines += ["", f"{what}: {'; '.join(names)}."]
    lines += ["", f'What they print for the fault "{SHOWN}", shortened:', ""]
    for row in compared:
        text = [line[:100].rstrip() for line in row["message"].splitlines()[:12]]
        lines += [f"{row['checker']}:", "", "```text", *text, "```", ""]
    return BLOCK.sub(lambda match: match[1] + "\n".join(lines) + match[2], page)


@contextmanager
def silence() -> Iterator[None]:
    """Wrong gradients and kinks make all of them warn."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield


def main() -> None:
    flags = parser(__doc__, threads=())
    flags.add_argument("--runs", type=int, default=2000, metavar="N", help="random right runs; quick: 20")
    flags.add_argument("--page", action="store_true", help="fill the page from the recorded result, measure nothing")
    arguments = flags.parse_args()
    if arguments.page:
        result = json.loads((_record.RESULTS / "bench_gradcheck.json").read_text(encoding="utf-8"))
        PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), result["rows"]), encoding="utf-8")
        return
    with silence():
        rows = list(compare(arguments.quick))
        TABLE.show(rows)
        if not arguments.quick:
            rows += [named(), *speed()]
        runs = 20 if arguments.quick else arguments.runs
        rows.append({"runs": runs, "false_alarms_of_runs": len(gradcheck_random.false_alarms(runs))})
    for row in rows:
        if "checker" not in row:
            print(row)
    finish(arguments, "bench_gradcheck", rows)


if __name__ == "__main__":
    main()
