"""The tables of bench_scale.py."""

from _tables import Rows, Section, groups, only, pick

SHAPE = "(B, T, E, H, L, K, V)"
COMMAND = "python benchmarks/bench_scale.py"


def limits(rows: Rows) -> Rows:
    """The number of machines from which on more do not pay off, for every shape and rate, from the predicted times."""
    found = []
    for (_, gbit), group in groups(pick(rows, kind="growth"), "name", "gbit"):
        strong = max((row for row in group if row["strong_speedup"]), key=lambda row: row["strong_speedup"])
        weak = [row for row in group if row["efficiency"] >= 0.5][-1]
        row = {
            "shape": strong["shape"],
            "gbit": gbit,
            "fastest": strong["machines"],
            "speedup": strong["strong_speedup"],
        }
        row |= {"half": weak["machines"], "half_speedup": weak["weak_speedup"], "all": group[-1]["weak_speedup"]}
        found.append(row)
    return found


SPEED = Section(
    "Step time by number of ranks",
    "Strong: the columns are divided among the ranks, and the speed, in tokens per second, is relative to one process"
    " with as many threads as there are ranks, which computes the same bits. Weak: each rank has B columns, and the"
    " speed is relative to one process with one thread. The median and the range of the ratios of neighbouring samples"
    " are shown. Waiting: share of the step spent in transfers, waiting for other ranks or the link. Repeated: the part"
    " of a step that does not depend on B (norm, update, packing); every rank repeats it, whereas threads divide it.",
    "bench_scale.json",
    {
        SHAPE: "shape", "scaling": "scaling", "ranks": "ranks", "link": "link", "step, ms": "ms:.2f",
        "of one process": "reference_ms:.2f", "speed": "speed:.2f", "lowest": "speed_low:.2f",
        "highest": "speed_high:.2f", "MB sent by a rank": "megabytes:.2f", "waiting": "waiting:.0%",
        "repeated, ms": "repeated_ms:.2f", "samples": "samples",
    },
    rows=only(kind="speed"),
    command=COMMAND,
)  # fmt: skip
LINKS = Section(
    "Links",
    "Between two ranks. alpha: time of an empty message, by ping-pong; 1 / beta: rate at which each sends while both"
    " send long messages; overhead: time of each further concurrent small message. Hidden: share of an exchange"
    " of 8 MB that proceeds while both ranks compute for the same time.",
    "bench_scale.json",
    {
        "link": "link", "alpha, µs": "alpha_us:.1f", "1 / beta, MB/s": "megabytes_per_second:,.0f",
        "overhead, µs": "overhead_us:.2f",
        "hidden": "hidden:.0%", "not possible here": "reason",
    },
    rows=only(kind="link"),
    command=COMMAND,
)  # fmt: skip
CHECK = Section(
    "Predicted and measured step time",
    "Two ranks with one thread each. Predicted from one process on one thread and from the link, by [W2] to [W4].",
    "bench_scale.json",
    {
        SHAPE: "shape", "link": "link", "measured, ms": "ms:.2f", "predicted, ms": "predicted_ms:.2f",
        "predicted over measured": "ratio:.2f", "transfer, ms": "transfer_ms:.2f",
    },
    rows=only(kind="check"),
    command=COMMAND,
)  # fmt: skip
GROWTH = Section(
    "Predicted step time on 1 to 1,000 machines",
    "Machines like the one measured, one rank each with all cores. Strong: B columns in all; empty where there are more"
    " machines than columns. Weak: B columns on each machine. Efficiency: tokens per second relative to as many"
    " machines that exchange nothing (weak).",
    "bench_scale.json",
    {
        SHAPE: "shape", "Gbit/s": "gbit", "machines": "machines", "strong, ms": "strong_ms:,.1f",
        "strong, speed-up": "strong_speedup:.2f", "weak, ms": "weak_ms:,.1f", "weak, speed-up": "weak_speedup:,.1f",
        "efficiency": "efficiency:.0%",
    },
    rows=only(kind="growth"),
    command=COMMAND,
)  # fmt: skip
LIMITS = Section(
    "Where more machines stop paying off",
    "From the table of predicted step times, so accurate only to a factor of two in the number of machines. Fastest:"
    " the number of machines with the shortest step when B columns are divided among them. Half: the largest number of"
    " machines with an efficiency of one half or more when each has B columns.",
    "bench_scale.json",
    {
        SHAPE: "shape", "Gbit/s": "gbit", "strong: fastest": "fastest", "its speed-up": "speedup:.2f",
        "weak: half": "half", "its speed-up ": "half_speedup:,.1f", "speed-up with 1,000": "all:,.1f",
    },
    rows=limits,
    command=COMMAND,
)  # fmt: skip
SETUP = Section(
    "The cost of a wrong set-up",
    "Two ranks on one machine. Bound: each on its own core (`mpirun -bind-to core`). Not bound: the operating system"
    " moves them. On one core: both on the same core, as when too few cores were requested from the scheduler."
    " Crowded: each with as many threads as the machine has cores. Speed: relative to bound.",
    "bench_scale.json",
    {
        SHAPE: "shape", "set-up": "setup", "step, ms": "ms:.2f", "speed": "speed:.2f", "lowest": "speed_low:.2f",
        "highest": "speed_high:.2f", "waiting": "waiting:.0%",
    },
    rows=only(kind="setup"),
    command=COMMAND,
)  # fmt: skip
SECTIONS = {
    "scale-speed": SPEED,
    "scale-setup": SETUP,
    "scale-links": LINKS,
    "scale-check": CHECK,
    "scale-limits": LIMITS,
    "scale-growth": GROWTH,
}
