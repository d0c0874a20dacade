"""How does a training step grow with the number of ranks, and what would it take on 1 to 1,000 machines?

Measured, each side a job of its own, in turns, the medians over the rounds: one process with one thread and with as
many as there are cores; as many ranks of one thread, over shared memory (strong: the same B; weak: B for each rank),
over TCP on the loopback, and over virtual Ethernet links limited to 1 and 10 Gbit/s (_links.py).  Every rank reports
what it sent and how long it waited.  alpha of each link comes from ping-pong, beta from long
messages both ways at once (_scale_job.py).

Two ranks are also started as they should not be: on one core, not bound to cores, with too many threads.

Predicted, by the formulas of _scale_model.py: the measured jobs, as a check; and 1 to 1,000 machines like this one at
1, 10 and 100 Gbit/s.

    python benchmarks/bench_scale.py                                    everything; about 15 minutes
    python benchmarks/bench_scale.py --only speed --shapes h512 h650    two ranks against two threads

On a cluster, from a script of its scheduler: --launcher srun --ranks 2 4 8 16 --only speed.
"""

import argparse
import json
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import _links
import _scale_model as model
import _timing
from _links import LOOPBACK, MEMORY, VETH, Link
from _scale_tables import CHECK, GROWTH, LINKS, SECTIONS, SETUP, SPEED
from _tables import Row, Rows
from _workload import Shape
from bench_train import QUICK
from bench_train import SHAPES as ALL_SHAPES

from nplm.threads import affinity, cores

SHAPES = {name: ALL_SHAPES[name] for name in ("h200", "h512", "h650")}
MACHINES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000)
GBIT = (1, 10, 100)
SETUPS = {  # name: options of mpirun, whether both ranks are held to one core, threads of each (0: all cores)
    "bound": ("-bind-to core", False, 1),
    "not bound": ("-bind-to none", False, 1),
    "on one core": ("-bind-to none", True, 1),
    "crowded": ("-bind-to none", False, 0),
}
__all__ = ["SECTIONS"]
Found = dict[str, list[dict[str, Any]]]  # what the jobs of a side printed, a round each


def job(
    arguments: argparse.Namespace,
    shapes: dict[str, Shape],
    ranks: int,
    threads: int,
    shards: int,
    link: Link,
    launcher: Sequence[str] = (),
) -> Any:
    """What rank 0 of one job printed."""
    spec = {"shapes": shapes, "threads": threads, "shards": shards, "seconds": arguments.seconds}
    program = [sys.executable, str(Path(__file__).with_name("_scale_job.py")), json.dumps(spec)]
    line = _links.command(link, ranks, program, launcher or shlex.split(arguments.launcher))
    run = subprocess.run(line, capture_output=True, text=True, env=_links.environment(link), timeout=1800)
    if run.returncode:
        sys.exit(f"{shlex.join(line[:4])} ...: exit code {run.returncode}\n{run.stderr}")
    return json.loads(run.stdout.splitlines()[-1])


def measure(arguments: argparse.Namespace, shapes: dict[str, Shape], links: list[Link]) -> Found:
    """All sides, in turns.  A side is named by scaling, ranks and link."""
    half = {name: shape._replace(B=max(1, shape.B // 2)) for name, shape in shapes.items()}
    sides: dict[str, Any] = {"one": (shapes, 1, 1, 1, MEMORY), "half": (half, 1, 1, 1, MEMORY)}
    all_cores = arguments.cores
    sides |= {
        "machine": (shapes, 1, all_cores, all_cores, MEMORY),
        "half machine": (half, 1, all_cores, all_cores, MEMORY),
    }
    for ranks in arguments.ranks:
        sides[f"threads {ranks}"] = (shapes, 1, ranks, ranks, MEMORY)
        sides[f"strong {ranks}"] = (shapes, ranks, 1, ranks, MEMORY)
        wide = {name: shape._replace(B=shape.B * ranks) for name, shape in shapes.items()}
        sides[f"weak {ranks}"] = (wide, ranks, 1, ranks, MEMORY)
    sides |= {link.name: (shapes, 2, 1, 2, link) for link in links}
    if links:
        sides |= {name: _setup(shapes, *how, all_cores) for name, how in SETUPS.items()}
    found: Found = {name: [] for name in sides}
    for number in range(arguments.samples):
        for name, side in sides.items():
            print(f"round {number + 1} of {arguments.samples}: {name}", file=sys.stderr, flush=True)
            found[name].append(job(arguments, *side))
    return found


def _setup(shapes: dict[str, Shape], options: str, one_core: bool, threads: int, all_cores: int) -> tuple[Any, ...]:
    """The arguments of `job` for a set-up of two ranks."""
    held = ["taskset", "-c", str(min(affinity()))] if one_core else []
    threads = threads or all_cores
    return shapes, 2, threads, 2 * threads, MEMORY, [*held, _links.mpirun(), *options.split()]


def setup_rows(found: Found, shapes: dict[str, Shape]) -> Rows:
    """One row for every shape and set-up."""
    rows = []
    for name, shape in shapes.items():
        best = [got[name]["seconds"] for got in found["bound"]]
        for setup in SETUPS:
            mine = [got[name] for got in found[setup]]
            seconds = [got["seconds"] for got in mine]
            row: Row = {
                "kind": "setup",
                "name": name,
                "shape": list(shape),
                "setup": setup,
                "ms": 1e3 * median(seconds),
            }
            row |= _timing.ratios(best, seconds, "speed")
            rows.append(row | {"waiting": median(got["seconds_waited"] / got["seconds"] for got in mine)})
    return rows


def speed_rows(found: Found, shapes: dict[str, Shape], ranks: int) -> Rows:
    """One row for every shape and scaling."""
    rows = []
    for scaling, other in (("strong", f"threads {ranks}"), ("weak", "one")):
        for name, shape in shapes.items():
            mine = [got[name] for got in found[f"{scaling} {ranks}"]]
            theirs = [got[name]["seconds"] for got in found[other]]
            seconds, work = [got["seconds"] for got in mine], 1 if scaling == "strong" else ranks
            row: Row = {"kind": "speed", "name": name, "shape": list(shape), "scaling": scaling, "ranks": ranks}
            row |= {"link": MEMORY.name, "ms": 1e3 * median(seconds), "reference_ms": 1e3 * median(theirs)}
            row |= _timing.ratios([work * t for t in theirs], seconds, "speed")
            row |= {"megabytes": median(got["bytes_sent"] for got in mine) / 1e6, "samples": len(mine)}
            row |= {"waiting": median(got["seconds_waited"] / got["seconds"] for got in mine)}
            row |= {"repeated_ms": 1e3 * fitted(found, name, shape, "one", "half")[0]}
            rows.append(row)
    return rows


def fitted(found: Found, name: str, shape: Shape, whole: str, half: str) -> tuple[float, float]:
    """fixed and column of [W2]: the line through the step times of B and of B / 2 columns."""
    columns = shape.B, max(1, shape.B // 2)
    times = [median(got[name]["seconds"] for got in found[side]) for side in (whole, half)]
    column = (times[0] - times[1]) / max(1, columns[0] - columns[1])
    return max(0.0, times[0] - columns[0] * column), column


def wire(found: Found, side: str) -> model.Wire:
    """A link, as the median over the rounds."""
    return model.Wire(*(median(got["link"][key] for got in found[side]) for key in ("alpha", "beta", "overhead")))


def link_row(found: Found, name: str, side: str) -> Row:
    """A row of the table of links."""
    link, hidden = wire(found, side), median(got["link"]["hidden"] for got in found[side])
    shown = {"alpha_us": 1e6 * link.alpha, "megabytes_per_second": 1e-6 / link.beta, "overhead_us": 1e6 * link.overhead}
    return {"kind": "link", "link": name, "hidden": hidden, "reason": None} | shown


def check_rows(found: Found, shapes: dict[str, Shape], side: str, link: str, rates: tuple[float, float]) -> Rows:
    """Two ranks over a link, measured and predicted."""
    rows = []
    for name, shape in shapes.items():
        machine = model.Machine(*fitted(found, name, shape, "one", "half"), *rates)
        predicted, took = (
            model.step(shape, 2, machine, wire(found, side)),
            median(r[name]["seconds"] for r in found[side]),
        )
        row: Row = {"kind": "check", "name": name, "shape": list(shape), "link": link, "ms": 1e3 * took}
        row |= {"predicted_ms": 1e3 * predicted, "ratio": predicted / took}
        rows.append(row | {"transfer_ms": 1e3 * model.transfer(shape, 2, wire(found, side))})
    return rows


def growth_rows(name: str, shape: Shape, machine: model.Machine, measured: model.Wire, gbit: float) -> Rows:
    """A shape on 1 to 1,000 machines at 1, 10 and 100 Gbit/s."""
    rows, alone = [], machine.fixed + shape.B * machine.column
    for rate in GBIT:
        link = model.ethernet(rate, measured, gbit)
        for count in MACHINES:
            weak = model.step(shape._replace(B=shape.B * count), count, machine, link)
            row: Row = {"kind": "growth", "name": name, "shape": list(shape), "gbit": rate, "machines": count}
            row |= {"weak_ms": 1e3 * weak, "weak_speedup": count * alone / weak, "efficiency": alone / weak}
            strong = model.step(shape, count, machine, link) if count <= shape.B else None
            row |= {"strong_ms": strong and 1e3 * strong, "strong_speedup": strong and alone / strong}
            rows.append(row)
    return rows


def main() -> None:
    flags = _timing.parser(__doc__, threads=())
    flags.add_argument("--only", choices=["speed"], help="speed: without links and predictions; not written by default")
    flags.add_argument("--shapes", nargs="+", choices=list(SHAPES), default=list(SHAPES))
    flags.add_argument("--ranks", nargs="+", type=int, metavar="R", help="default: the number of cores")
    flags.add_argument("--launcher", default="", metavar="COMMAND", help="in place of mpirun; -n R is added")
    arguments = _timing.parse(flags)
    arguments.cores = cores()
    arguments.ranks = arguments.ranks or [max(2, arguments.cores)]
    shapes = {"quick": QUICK["quick"]} if arguments.quick else {name: SHAPES[name] for name in arguments.shapes}
    reasons = {link: _links.why_not(link) for link in VETH} if arguments.only is None else {}
    links = [] if arguments.only else [LOOPBACK, *(link for link in VETH if reasons[link] is None)]
    found = measure(arguments, shapes, links)
    rows = [row for ranks in arguments.ranks for row in speed_rows(found, shapes, ranks)]
    SPEED.show(rows)
    if arguments.only is None:
        rows += SETUP.show(setup_rows(found, shapes)) + predictions(found, shapes, links)
        rows += [{"kind": "link", "link": link.name, "reason": reason} for link, reason in reasons.items() if reason]
    if arguments.only is None or arguments.json:
        _timing.finish(arguments, "bench_scale", rows)


def predictions(found: Found, shapes: dict[str, Shape], links: list[Link]) -> Rows:
    """The rows of links, of the check, and of growth, which are shown."""
    rates = model.rates()
    sides = {MEMORY.name: "strong 2"} if "strong 2" in found else {}
    sides |= {link.name: link.name for link in links}
    rows = LINKS.show([link_row(found, name, side) for name, side in sides.items()])
    rows += CHECK.show([row for name, side in sides.items() for row in check_rows(found, shapes, side, name, rates)])
    limited = next((link for link in links if link.gbit), None)
    base, gbit = (wire(found, limited.name), limited.gbit) if limited and limited.gbit else (None, 0.0)
    if base is None:  # no limited link here: the loopback's latency, and the nominal rate
        base, gbit = wire(found, LOOPBACK.name)._replace(beta=8e-9), 1.0
    for name, shape in shapes.items():
        machine = model.Machine(*fitted(found, name, shape, "machine", "half machine"), *rates)
        rows += GROWTH.show(growth_rows(name, shape, machine, base, gbit))
    return rows


if __name__ == "__main__":
    main()
