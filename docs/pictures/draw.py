"""Draws the pictures of the pages: python docs/pictures/draw.py writes the SVG files here; --check compares them."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import curves  # noqa: E402
import diagrams  # noqa: E402
import findings  # noqa: E402

PICTURES = {
    function.__name__: function
    for function in (
        *(diagrams.chunks, diagrams.strip, diagrams.cut, diagrams.bag, diagrams.repeated, diagrams.lstm),
        *(curves.score_gradient, curves.vanishing, curves.log_z, curves.catch_up),
        *(findings.speed, findings.perplexity_time, findings.machines, findings.instruments),
    )
}


def main() -> None:
    """The command."""
    if sys.argv[1:] not in ([], ["--check"]):
        sys.exit(f"unknown arguments {' '.join(sys.argv[1:])}: give none, or --check")
    drawn = {HERE / f"{name}.svg": function().svg() for name, function in PICTURES.items()}
    stale = [path for path, svg in drawn.items() if not path.exists() or path.read_text(encoding="utf-8") != svg]
    if "--check" in sys.argv:
        sys.exit("".join(f"{path.name} is not what draw.py makes; run it\n" for path in stale) or 0)
    for path in stale:
        path.write_text(drawn[path], encoding="utf-8")
    print(f"{len(stale)} of {len(drawn)} pictures written")


if __name__ == "__main__":
    main()
