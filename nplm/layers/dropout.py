"""Dropout: in training, inputs of a layer are set to zero at random (Srivastava 2014).

[R1]  y = x m      m = 1 / (1 - p) with probability 1 - p, else 0, so that y is x on average
[dR1] dx = dy m    the same mask

Between layers, and between the top layer and the scores, m is drawn for every time step (Zaremba 2014) or once per
sequence (variational: Gal & Ghahramani 2016).  Two masks are always drawn once per sequence: that of whole words, where
a word is dropped at all its occurrences in a stream, and that of the recurrence, r of the LSTM.

A mask is a function of keys and positions (kernels/dropout.py); the reference implementation, reference/dropout.py,
takes it as an argument.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nplm.arrays import Array
from nplm.kernels import dropout as kernels

WORDS, RECURRENT = 2**16, 2**17  # sites in addition to the inputs of the layers, which are 0 ... L


@dataclass(frozen=True)
class Dropout:
    """The dropout of one chunk.  Rates p are probabilities in [0, 1)."""

    rate: float  # between layers
    words: float  # of whole words of the input
    recurrent: float  # of h_{t-1}
    per_step: bool  # between layers, one mask for every step; otherwise one for the sequence
    chunk_key: int  # 64 bits
    sequence_key: int  # 64 bits
    streams: int  # of the whole chunk
    first: int = 0  # the first stream of this shard

    def shard(self, first: int) -> "Dropout":
        """The same for a shard whose first stream is `first`."""
        return replace(self, first=first)

    def input(self, x: Array, site: int) -> None:
        """[R1], or [dR1], in place: x (T,B,D) is the input of layer `site`; the scores are layer L."""
        key = self.chunk_key if self.per_step else self.sequence_key
        for t in range(len(x) if self.rate > 0 else 0):
            row = self.first + (t * self.streams if self.per_step else 0)
            kernels.leave_out(x[t].reshape(-1), *_draw(key, site, self.rate, row * x.shape[2]))

    def input_words(self, x: Array, inputs: Array, vocab_size: int) -> None:
        """[R1], or [dR1], in place: x (T,B,E) are the vectors of the words inputs (T,B)."""
        if self.words > 0:
            kept = np.ones(inputs.size, x.dtype)
            places = (self.first + np.arange(inputs.shape[1])) * vocab_size + inputs  # one per word and stream
            places = places.ravel().astype(np.uint64)
            kernels.leave_out_at(kept, *_draw(self.sequence_key, WORDS, self.words, places))
            x *= kept.reshape(*inputs.shape, 1)

    def recurrent_mask(self, layer: int, batch: int, size: int, dtype: Any) -> Array:
        """The mask (B,H) of h_{t-1}: r of the LSTM."""
        mask = np.ones((batch, size), dtype)
        if self.recurrent > 0:
            place = self.first * size
            kernels.leave_out(mask.reshape(-1), *_draw(self.sequence_key, RECURRENT + layer, self.recurrent, place))
        return mask


def _draw(key: int, site: int, rate: float, place: Any) -> tuple[Any, Any, int, float]:
    """The arguments of the kernels: the site's key, the position, the threshold, the scale."""
    own = (key + site * 0xD1342543DE82EF95) % 2**64
    return np.uint64(own), place, round(rate * 2**32), 1.0 / (1.0 - rate)
