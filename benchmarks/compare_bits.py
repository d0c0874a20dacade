"""Do two checkouts of nplm train to the same bits on this machine?

For every recipe of tests/golden/recipes.py, with one and two shards, a float32 model is trained on 50 chunks by each
checkout, in a process of its own; the last chunk is the tail, in which only some streams have a token.  Then the bytes
of every parameter are compared.

    python benchmarks/compare_bits.py BEFORE AFTER     two folders that hold nplm/

Prints a table and exits with 1 if any parameter differs.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
CHUNKS = 50
VOCABULARY = 2000
PLACES = "{recipe}/{shards}/{name}"  # of a parameter in the file that a child writes


def child(checkout: Path, file: Path) -> None:
    """Train every recipe with the checkout that this process has imported, and write the parameters to a file."""
    sys.path.insert(0, str(ROOT / "tests"))
    from golden import recipes

    import nplm

    if not Path(nplm.__file__).is_relative_to(checkout):
        sys.exit(f"{checkout}: holds no nplm/; this is {nplm.__file__}")
    sizes = recipes.Sizes(embed=48, hidden=64, batch=20, bptt=10, chunks=7)
    ids = recipes.text((CHUNKS - 1) * sizes.batch * sizes.bptt + sizes.batch // 3, VOCABULARY, seed=1)
    corpus = nplm.Corpus("synthetic", recipes.vocabulary(ids, VOCABULARY), ids)
    params = {}
    for recipe, settings in recipes.RECIPES.items():
        for shards in recipes.SHARDS:
            model, losses = recipes.train(settings, corpus, sizes, np.float32, shards=shards)
            assert len(losses) == CHUNKS
            for name, value in model.params.items():
                params[PLACES.format(recipe=recipe, shards=shards, name=name)] = value
    np.savez(file, **params)


def run(checkout: Path, file: Path) -> dict[str, np.ndarray]:
    """The parameters that a checkout trains, by recipe, shards and name."""
    command = [sys.executable, str(Path(__file__).resolve()), str(checkout), str(checkout), "--child", str(file)]
    environment = os.environ | {"PYTHONPATH": str(checkout)}
    if subprocess.run(command, cwd=file.parent, env=environment).returncode:
        sys.exit(f"{checkout}: the training failed, see above")
    with np.load(file) as params:
        return dict(params)


def same(before: np.ndarray | None, after: np.ndarray | None) -> bool:
    """Whether shape, type and bytes are the same."""
    if before is None or after is None or (before.shape, before.dtype) != (after.shape, after.dtype):
        return False
    return before.tobytes() == after.tobytes()


def compare(before: dict[str, np.ndarray], after: dict[str, np.ndarray]) -> bool:
    """Print a line for every recipe and number of shards; returns whether everything is the same."""
    trainings: dict[str, list[str]] = {}
    for place in {**before, **after}:
        trainings.setdefault(place.rpartition("/")[0], []).append(place)
    print(f"{'recipe':<20} {'shards':>6}   parameters after {CHUNKS} chunks")
    all_same = True
    for training, places in trainings.items():
        differ = [place for place in places if not same(before.get(place), after.get(place))]
        all_same = all_same and not differ
        names = ", ".join(place.rpartition("/")[2] for place in differ)
        recipe, shards = training.split("/")
        print(f"{recipe:<20} {shards:>6}   {f'{len(differ)} of {len(places)} differ: {names}' if differ else 'same'}")
    return all_same


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("before", type=Path, metavar="BEFORE", help="a checkout")
    flags.add_argument("after", type=Path, metavar="AFTER", help="another")
    flags.add_argument("--child", type=Path, metavar="FILE", help=argparse.SUPPRESS)  # train BEFORE in this process
    arguments = flags.parse_args()
    before, after = arguments.before.resolve(), arguments.after.resolve()
    if arguments.child:
        child(before, arguments.child)
        return
    with tempfile.TemporaryDirectory(prefix="nplm-bits-") as folder:
        same = compare(run(before, Path(folder) / "before.npz"), run(after, Path(folder) / "after.npz"))
    sys.exit(0 if same else 1)


if __name__ == "__main__":
    main()
