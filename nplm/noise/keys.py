"""The keys of a run's random streams: one for each purpose, all from the run's seed."""

from functools import cache

import numpy as np

from nplm.noise.alias import check_whole


@cache
def stream_key(seed: int, purpose: str) -> int:
    """Return the 64-bit key of one purpose's random stream ("noise", "init", ...) under the run's seed.

    Keys of different purposes are unrelated.  seed in [0, 2**63).  Raises InputError on any other seed.
    """
    seed = check_whole("seed", seed, 0, 2**63 - 1)
    # As spawn key, not as more entropy: there, the bytes could pass for the upper half of a bigger seed.
    sequence = np.random.SeedSequence(seed, spawn_key=tuple(purpose.encode()))
    return int(sequence.generate_state(1, np.uint64)[0])
