"""The objectives: each is one object with the same signature.

    loss, cache = objective.forward(hidden, targets, noise_ids, decoder, scale, room)
    dhidden, dweight, dbias = objective.backward(cache, decoder, room)

nce               layers/nce.py
softmax           layers/softmax.py, exact, optionally with a penalty on log^2 Z
sampled-softmax   layers/sampled_softmax.py; noise words equal to the target are left out
ranking           layers/sampled_softmax.py; noise words equal to the target are kept
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from nplm.arrays import Array
from nplm.layers import nce, sampled_softmax, softmax
from nplm.layers.row_gradient import Gradient
from nplm.layers.workspace import Workspace


class Decoder(NamedTuple):
    """The output layer, which turns hidden states into scores, and the noise distribution of NCE."""

    weight: Array  # (V,H)
    bias: Array  # (V,)
    log_q: Array  # (V,)
    bfloat16: bool = False  # whether operands of the products with the noise words are rounded


NAMES = ("nce", "softmax", "sampled-softmax", "ranking")
Forward = Callable[[Array, Array, Array, Decoder, float, Workspace], tuple[float, Any]]


class Objective(NamedTuple):
    """A loss in nats, summed over the positions and multiplied by `scale`, and its gradient."""

    name: str
    forward: Forward
    backward: Callable[[Any, Decoder, Workspace], tuple[Array, Gradient, Gradient]]
    dense: bool = False  # reads, and has a gradient for, every row of the decoder, not only those of the chunk's words
    log_z_penalty: float = 0.0  # times the mean of log^2 Z


def make_objective(name: str, log_z_penalty: float = 0.0) -> Objective:
    """The objective with this name; the penalty is for the softmax only.  Raises ValueError on an unknown name."""

    def exact(
        hidden: Array, targets: Array, noise_ids: Array, decoder: Decoder, scale: float, room: Workspace
    ) -> tuple[float, Any]:
        return softmax.forward(hidden, targets, decoder.weight, decoder.bias, scale, log_z_penalty, room)

    def sampled(
        hidden: Array, targets: Array, noise_ids: Array, decoder: Decoder, scale: float, room: Workspace
    ) -> tuple[float, Any]:
        weight, bias, log_q, bfloat16 = decoder
        given = (hidden, targets, noise_ids, weight, bias, log_q, scale, room)
        if name == "nce":
            return nce.forward(*given, bfloat16)
        return sampled_softmax.forward(*given, keep_hits=name == "ranking", bfloat16=bfloat16)

    def backward(cache: Any, decoder: Decoder, room: Workspace) -> tuple[Array, Gradient, Gradient]:
        if dense:
            return softmax.backward(cache, decoder.weight, room)
        if name == "nce":
            return nce.backward(cache, decoder.weight, room)
        return sampled_softmax.backward(cache, decoder.weight, room)

    if name not in NAMES:
        raise ValueError(f"objective {name!r} is not one of {', '.join(NAMES)}")
    dense = name == "softmax"
    return Objective(name, exact if dense else sampled, backward, dense, log_z_penalty)
