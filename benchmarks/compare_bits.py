"""Do two checkouts of nplm train to bit-identical results on this machine?  For changes that must keep the arithmetic.

Each checkout trains the five recipes of tests/golden/recipes.py, with one and with two shards, in a process of its own
that finds its `nplm` first; what is compared is the SHA-256 of the float32 parameters after 50 chunks.

    git worktree add /tmp/before main
    python benchmarks/compare_bits.py /tmp/before .          exits with 1 if any of them differs

Other processors round differently: figures that hold on those are in tests/test_golden.py.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def child() -> dict[str, str]:
    """Digest of the parameters for every recipe and number of shards, with the `nplm` that this process imports."""
    import numpy as np
    from golden.recipes import RECIPES, SHARDS, train

    digests = {}
    for recipe in RECIPES:
        for shards in SHARDS:
            params, _ = train(recipe, shards, np.float32)
            digest = hashlib.sha256()
            for name in sorted(params):
                digest.update(name.encode() + str(params[name].shape).encode() + params[name].tobytes())
            digests[f"{recipe}; shards: {shards}"] = digest.hexdigest()
    return digests


def digests_of(checkout: Path) -> dict[str, str]:
    """The digests of one checkout.  Exits if it cannot be run, or if another `nplm` was imported in its place."""
    paths = os.pathsep.join([str(checkout), str(ROOT / "tests")])
    with tempfile.TemporaryDirectory() as elsewhere:  # neither checkout is the current folder
        run = subprocess.run(
            [sys.executable, str(Path(__file__).resolve()), "--child"],
            env={**os.environ, "PYTHONPATH": paths},
            cwd=elsewhere,
            stdout=subprocess.PIPE,
            text=True,
        )
    if run.returncode:
        sys.exit(f"{checkout}: training failed, see above")
    found = json.loads(run.stdout.splitlines()[-1])
    if not Path(found["nplm"]).is_relative_to(checkout):
        sys.exit(f"{checkout}: holds no nplm; {found['nplm']} was imported")
    digests: dict[str, str] = found["digests"]
    return digests


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("checkouts", type=Path, nargs="*", metavar="FOLDER", help="two checkouts of nplm")
    flags.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments = flags.parse_args()
    if arguments.child:
        import nplm

        print(json.dumps({"nplm": str(Path(nplm.__file__).resolve()), "digests": child()}))
        return
    if len(arguments.checkouts) != 2:
        flags.error("give two folders")
    first, second = (digests_of(folder.resolve()) for folder in arguments.checkouts)
    print(f"{'recipe':<26} {'first':<14} {'second':<14}")
    for what, digest in first.items():
        verdict = "same" if digest == second[what] else "DIFFERENT"
        print(f"{what:<26} {digest[:12]:<14} {second[what][:12]:<14} {verdict}")
    if first != second:
        sys.exit(1)


if __name__ == "__main__":
    main()
