"""How much of the vocabulary a set of noise groups covers, and how much the groups have in common."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nplm.errors import InputError


@dataclass(frozen=True)
class GroupStatistics:
    """How much of the vocabulary a set of groups covers."""

    distinct: float  # mean number of distinct words in a group
    overlap: float  # mean of |A and B| / |A| over ordered pairs of groups, as sets; 0 for a single group
    uncovered_mass: float  # sum of q over the words that are in no group, in [0, 1]


def group_statistics(groups: Sequence[ArrayLike], probs: NDArray[np.float64]) -> GroupStatistics:
    """Return the statistics of groups, each (K,) ids in [0, V), under q = probs (V,).

    Raises InputError if there is no group, a group is empty, or an id is outside the vocabulary.
    """
    sets = [np.unique(np.asarray(group)) for group in groups]
    if not sets or any(words.size == 0 for words in sets):
        raise InputError("there are no noise groups to measure, or one of them is empty")
    for words in sets:
        if words[0] < 0 or words[-1] >= probs.size:
            bad = words[0] if words[0] < 0 else words[-1]
            raise InputError(f"noise id {bad} is outside the vocabulary [0, {probs.size})")
    holders = np.zeros(probs.size, np.int64)  # in how many groups a word is
    for words in sets:
        holders[words] += 1
    # The sum of |A and B| over the other groups B is that of (holders - 1) over the words of A.
    pairs = len(sets) * (len(sets) - 1)
    shared = sum(float(np.mean(holders[words] - 1)) for words in sets)
    return GroupStatistics(
        distinct=float(np.mean([words.size for words in sets])),
        overlap=shared / pairs if pairs else 0.0,
        uncovered_mass=float(probs[holders == 0].sum()),
    )
