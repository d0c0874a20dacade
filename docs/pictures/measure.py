"""Trains nplm_minimal.py as it is and with three mistakes, and writes mean log Z over training to log_z.json."""

import json
import sys
from itertools import islice, repeat
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
SOURCE = HERE.parent / "minimal" / "nplm_minimal.py"
EVERY = 25  # chunks between two measurements
WORDS = 1000  # of the test text, to measure log Z on

N2 = "delta = score - np.log(len(noise)) - log_q[words]"
CASES = {  # name: what stands in the place of [N2], and whether one group serves all chunks
    "as it should be": (N2, False),
    "log K left out": (N2.replace(" - np.log(len(noise))", ""), False),
    "hits masked": (f"{N2}; delta[:, :-1][words[:, :-1] == words[:, -1:]] = -np.inf", False),
    "one group for ever": (N2, True),
}


def load(line: str = N2) -> dict[str, Any]:
    """The names of nplm_minimal.py, with `line` in the place of [N2]."""
    source = SOURCE.read_text(encoding="utf-8")
    if source.count(N2) != 1:
        sys.exit(f"{SOURCE.name} has no line {N2!r}: adapt measure.py")
    minimal: dict[str, Any] = {"__name__": "nplm_minimal"}
    exec(compile(source.replace(N2, line), str(SOURCE), "exec"), minimal)
    return minimal


def curve(line: str, one_group: bool, most: int = 10**9) -> tuple[list[int], list[float]]:
    """Chunks trained on, at most so many, and mean log Z at each."""
    minimal = load(line)
    rng = np.random.default_rng(1)
    ids, test, counts, _ = minimal["made_up_text"](rng)
    q = np.maximum(counts, 1) / np.maximum(counts, 1).sum()
    params = minimal["init"](q, rng)
    group = rng.choice(len(q), minimal["K"], p=q)

    def groups(epoch: int, sequence: int):
        return repeat(group) if one_group else minimal["noise_groups"]("fresh", q, rng)

    chunks, means = [0], [float(minimal["evaluate"](params, test[:WORDS])[1].mean())]
    for n, _ in enumerate(islice(minimal["train"](params, ids, groups, np.log(q)), most), start=1):
        if n % EVERY == 0:
            chunks.append(n)
            means.append(float(minimal["evaluate"](params, test[:WORDS])[1].mean()))
    return chunks, means


def main() -> None:
    """The command."""
    found = {name: curve(*case) for name, case in CASES.items()}
    chunks = next(iter(found.values()))[0]
    log_z = {name: [round(mean, 3) for mean in means] for name, (_, means) in found.items()}
    record = {"num_noise": load()["K"], "chunks": chunks, "log_z": log_z}
    (HERE / "log_z.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
