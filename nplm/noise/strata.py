"""Stratified draws: the groups of a pool are drawn jointly, so that an excess in one group is a deficit in others.

The words partition [0, 1) into intervals, each as long as its q.  M groups of K draws divide [0, 1) into M K equal
strata, and every stratum gives one draw:

[Z8] stratum s = [s, s + 1) / (M K),  s = j M + i;  part j = [j, j + 1) / K has M of them, one for each group
[Z9] group g draws from part j in stratum i = a (g - r_j) mod M, at x = (j M + i + u) / (M K), r_j and u at random
[Z10] word = the first w with q(0) + ... + q(w) > x

r_j, in [0, M), is the same for all groups but differs between parts, and u, in [0, 1), differs between draws.  So each
draw of a group is uniform over its part, and the group's expected counts are K q(w), as with independent draws.
a is coprime to M, so a part's strata go to M different groups; neighbouring strata, which often belong to one word, go
to groups that are far apart in time (b, with a b = 1 mod M, is near 0.618 M).  M = 1 stratifies a single group.
See docs/learn/reuse.md, and reference/strata.py for the same in integers.
"""

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray

from nplm.kernels.alias import random_bits


def draw(
    cumulated: NDArray[np.float64], k: int, keys: tuple[int, int], place: tuple[int, int, int], groups: int = 1
) -> NDArray[np.int32]:
    """Return the K words (K,) int32 of group g of M, a pure function of its arguments.

    cumulated (V,): the sums of q; keys: of u and of r_j, 64 bits each; place: g, and sequence and epoch, which name the
    pool, 32 bits each; groups: M.
    """
    group, sequence, epoch = place
    u = (_bits(keys[0], place, k) >> np.uint64(11)) * 2.0**-53
    shift = (_bits(keys[1], (0, sequence, epoch), k) >> np.uint64(32)) * np.uint64(groups) >> np.uint64(32)  # r_j
    stratum = (multiplier(groups) * (group - shift.astype(np.int64))) % groups  # i
    x = (np.arange(k) * groups + stratum + u) / (groups * k)  # [Z9]
    words = np.searchsorted(cumulated, x, side="right")  # [Z10]
    return np.minimum(words, cumulated.size - 1).astype(np.int32)  # the sums may end just below 1


@cache
def multiplier(groups: int) -> int:
    """a of [Z9]: the inverse, mod M, of the number coprime to M that is nearest to 0.618 M; 1 for M <= 2."""
    if groups <= 2:
        return 1
    middle = round((math.sqrt(5) - 1) / 2 * groups)
    near = (b for d in range(groups) for b in (middle - d, middle + d))
    return pow(next(b for b in near if math.gcd(b, groups) == 1), -1, groups)


def _bits(key: int, counter: tuple[int, int, int], count: int) -> NDArray[np.uint64]:
    """`count` numbers of 64 random bits."""
    bits = np.empty(count + count % 2, np.uint64)
    c0, c1, c2 = map(np.uint64, counter)
    random_bits(np.uint64(key), c0, c1, c2, 0, bits)
    return bits[:count]
