"""A tuned rate for every arm of a study: successive halving over rates, each trial continuing where it stopped.

All rates run for one epoch, the better half of them for two, and so on until the last epoch; the best one at the end is
chosen.  If it is the lowest or the highest tried, the next rate beyond is also run to the end, so that the best lies
between two others.  The perplexity of a run that diverged is infinite, and it is not continued.

Where training starts slowly, or breaks down, halving can stop the best rate early; `keep` rates are left at least.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

Trial = Callable[[float, int], float]  # validation perplexity at a rate after so many epochs


class Best(NamedTuple):
    """What halving found."""

    rate: float
    perplexity: float
    tried: dict[float, int]  # epochs that each rate was run for


def halve(trial: Trial, rates: Sequence[float], epochs: int, keep: int = 2, beyond: int = 2) -> Best:
    """The best rate after `epochs`; beyond: how many further rates may be tried past either end."""
    tried: dict[float, int] = {}
    left = sorted(rates)
    for epoch in rungs(epochs):
        found = {rate: trial(rate, epoch) for rate in left}
        tried |= dict.fromkeys(left, epoch)
        sound = [rate for rate in sorted(left, key=found.__getitem__) if found[rate] < math.inf] or left
        left = sorted(sound[: max(keep, math.ceil(len(left) / 2))])
    best = min(found, key=found.__getitem__)
    factor = max(rates) / sorted(rates)[-2]
    for _ in range(beyond):
        if min(tried) < best < max(tried):
            break
        further = best * factor if best == max(tried) else best / factor
        found[further], tried[further] = trial(further, epochs), epochs
        best = min(found, key=found.__getitem__)
    return Best(best, found[best], tried)


def rungs(epochs: int) -> list[int]:
    """Epochs after which rates are compared: 1, 2, 4, ... and the last."""
    return sorted({min(2**k, epochs) for k in range(epochs.bit_length() + 1)})


def cost(rates: int, epochs: int, keep: int = 2) -> int:
    """Epochs that halving runs at least, over all rates, without those beyond the ends."""
    total = before = 0
    for epoch in rungs(epochs):
        total, before = total + rates * (epoch - before), epoch
        rates = min(rates, max(keep, math.ceil(rates / 2)))
    return total
