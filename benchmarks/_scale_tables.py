"""The tables of bench_scale.py."""

from _tables import Section, only

SHAPE = "(B, T, E, H, L, K, V)"
SPEED = Section(
    "Step time against ranks",
    "Strong: the columns are divided among the ranks; weak: each rank has B of its own. Speed (strong): tokens a second"
    " over those of one process with as many threads as there are ranks, and the same bits; (weak): over those of that"
    " many processes with one thread each and nothing to exchange. It is the median of the ratios of neighbours, then"
    " their range. Waiting: share of the step spent in transfers, for other ranks or the link. Repeated: the part of a"
    " step that does not depend on B (norm, update, packing); every rank does it whole, whereas threads divide it.",
    "bench_scale.json",
    {
        SHAPE: "shape", "scaling": "scaling", "ranks": "ranks", "link": "link", "ms a step": "ms:.2f",
        "of one process": "reference_ms:.2f", "speed": "speed:.2f", "lowest": "speed_low:.2f",
        "highest": "speed_high:.2f", "MB sent by a rank": "megabytes:.2f", "waiting": "waiting:.0%",
        "repeated, ms": "repeated_ms:.2f", "samples": "samples",
    },
    rows=only(kind="speed"),
)  # fmt: skip
LINKS = Section(
    "Links",
    "Between two ranks. alpha: time of an empty message, by ping-pong; 1 / beta: rate at which each sends while both"
    " send long messages; overhead: time of each further small message under way at once. Hidden: share of an exchange"
    " of 8 MB that goes on while both ranks compute for as long.",
    "bench_scale.json",
    {
        "link": "link", "alpha, us": "alpha_us:.1f", "1 / beta, MB/s": "megabytes_per_second:,.0f",
        "overhead, us": "overhead_us:.2f",
        "hidden": "hidden:.0%", "not possible here": "reason",
    },
    rows=only(kind="link"),
)  # fmt: skip
CHECK = Section(
    "Prediction against measurement",
    "Two ranks of one thread. Predicted from one process on one thread and from the link, by formulas [W2] to [W4].",
    "bench_scale.json",
    {
        SHAPE: "shape", "link": "link", "ms, measured": "ms:.2f", "ms, predicted": "predicted_ms:.2f",
        "predicted over measured": "ratio:.2f", "of it transfer, ms": "transfer_ms:.2f",
    },
    rows=only(kind="check"),
)  # fmt: skip
GROWTH = Section(
    "Predicted step time on 1 to 1,000 machines",
    "Machines like the one measured, one rank each with all cores. Strong: B columns in all; empty where there are more"
    " machines than columns. Weak: B columns on each machine. Efficiency: tokens a second over those of that many"
    " machines with nothing to exchange (weak).",
    "bench_scale.json",
    {
        SHAPE: "shape", "Gbit/s": "gbit", "machines": "machines", "strong, ms": "strong_ms:,.1f",
        "strong, speed-up": "strong_speedup:.2f", "weak, ms": "weak_ms:,.1f", "weak, speed-up": "weak_speedup:,.1f",
        "efficiency": "efficiency:.0%",
    },
    rows=only(kind="growth"),
)  # fmt: skip
SETUP = Section(
    "The cost of a wrong set-up",
    "Two ranks of one machine. Bound: each on a core of its own (`mpirun -bind-to core`). Not bound: the system moves"
    " them. On one core: both on the same core, as where a scheduler was not asked for enough cores. Crowded: each with"
    " as many threads as the machine has cores. Speed: over bound.",
    "bench_scale.json",
    {
        SHAPE: "shape", "set-up": "setup", "ms a step": "ms:.2f", "speed": "speed:.2f", "lowest": "speed_low:.2f",
        "highest": "speed_high:.2f", "waiting": "waiting:.0%",
    },
    rows=only(kind="setup"),
)  # fmt: skip
SECTIONS = {
    "scale-speed": SPEED,
    "scale-setup": SETUP,
    "scale-links": LINKS,
    "scale-check": CHECK,
    "scale-growth": GROWTH,
}
