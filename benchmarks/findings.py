"""What the results say, in sentences: figures and direction (above or below) come from the rows, never by hand.

A finding's function takes the rows of the result files that its globs match and yields plain sentences; none where
rows are missing.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import _findings_chunks as chunks
import _findings_quality as quality


class Finding(NamedTuple):
    """A paragraph of a page."""

    title: str
    sentences: Callable[..., Iterable[str]]  # of the rows of each glob
    results: tuple[str, ...]  # globs of result files


RECIPES, STUDIED, TRAINED, GRADIENTS = (
    "recipe-*.json", "study_objectives.json", "study_chunks.json", "study_gradients.json",
)  # fmt: skip
FINDINGS = {
    "finding-aims": Finding("What was aimed for", quality.aims, (RECIPES, STUDIED)),
    "finding-softmax": Finding("NCE against the softmax", quality.nce_against_softmax, (STUDIED,)),
    "finding-seconds": Finding("At equal seconds", quality.equal_seconds, (STUDIED,)),
    "finding-num-noise": Finding("What K buys", quality.num_noise, (STUDIED,)),
    "finding-power": Finding("The law of the noise", quality.noise_power, (STUDIED,)),
    "finding-objectives": Finding("Other objectives", quality.other_objectives, (STUDIED,)),
    "finding-log-z": Finding("Normalised by itself", quality.self_normalisation, (RECIPES, STUDIED)),
    "finding-counting": Finding(
        "Against counting", quality.counting, ("kneser_ney-python.json", "kneser_ney-ptb.json")
    ),
    "finding-chunks": Finding("What the number of chunks costs or buys", chunks.number_of_chunks, (TRAINED, GRADIENTS)),
    "finding-sharing": Finding(
        "What fresh noise for every chunk buys", chunks.shared_noise, (TRAINED, GRADIENTS, "bench_train.json")
    ),
    "finding-life": Finding("What the pool's life does", chunks.pool_life, (TRAINED,)),
}
