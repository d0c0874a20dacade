"""What is minimised: every objective as one object with one signature, known in this place alone.

    loss, cache = objective.forward(hidden, targets, noise_ids, decoder, scale, room)
    dhidden, dweight, dbias = objective.backward(cache, decoder, room)

nce               layers/nce.py
softmax           layers/softmax.py, exact, with a penalty on log^2 Z if asked for
sampled-softmax   layers/sampled_softmax.py, a noise word that is the target left out
ranking           layers/sampled_softmax.py, a noise word that is the target kept
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from nplm.arrays import Array
from nplm.layers import nce, sampled_softmax, softmax
from nplm.layers.row_gradient import Gradient
from nplm.layers.workspace import Workspace


class Decoder(NamedTuple):
    """What turns hidden states into scores, and the noise distribution that NCE compares them with."""

    weight: Array  # (V,H)
    bias: Array  # (V,)
    log_q: Array  # (V,)
    bfloat16: bool = False  # operands of the products with the noise words


Forward = Callable[[Array, Array, Array, Decoder, float, Workspace], tuple[float, Any]]


class Objective(NamedTuple):
    """A loss in nats, summed over the positions and multiplied by `scale`, and its gradient."""

    name: str
    forward: Forward
    backward: Callable[[Any, Decoder, Workspace], tuple[Array, Gradient, Gradient]]
    dense: bool = False  # reads, and has a gradient for, every row of the decoder: not only the chunk's words
    log_z_penalty: float = 0.0  # times the mean of log^2 Z


def make_objective(name: str, log_z_penalty: float = 0.0) -> Objective:
    """The objective of this name; the penalty belongs to the softmax.  Raises KeyError on another name."""
    exact = Objective("softmax", partial(_softmax, log_z_penalty), _softmax_backward, True, log_z_penalty)
    sampled: dict[str, Forward] = {
        "nce": _nce,
        "sampled-softmax": partial(_sampled_softmax, False),
        "ranking": partial(_sampled_softmax, True),
    }
    return exact if name == "softmax" else Objective(name, sampled[name], _sampled_backward)


def _nce(
    hidden: Array, targets: Array, noise_ids: Array, decoder: Decoder, scale: float, room: Workspace
) -> tuple[float, nce.NCECache]:
    weight, bias, log_q, bfloat16 = decoder
    return nce.forward(hidden, targets, noise_ids, weight, bias, log_q, scale, room, bfloat16)


def _sampled_softmax(
    keep_hits: bool,
    hidden: Array,
    targets: Array,
    noise_ids: Array,
    decoder: Decoder,
    scale: float,
    room: Workspace,
) -> tuple[float, nce.NCECache]:
    weight, bias, log_q, bfloat16 = decoder
    return sampled_softmax.forward(
        *(hidden, targets, noise_ids, weight, bias, log_q, scale, room),
        keep_hits=keep_hits,
        bfloat16=bfloat16,
    )


def _sampled_backward(
    cache: nce.NCECache, decoder: Decoder, room: Workspace
) -> tuple[Array, Gradient, Gradient]:
    return nce.backward(cache, decoder.weight, room)


def _softmax(
    penalty: float,
    hidden: Array,
    targets: Array,
    noise_ids: Array,
    decoder: Decoder,
    scale: float,
    room: Workspace,
) -> tuple[float, softmax.SoftmaxCache]:
    return softmax.forward(hidden, targets, decoder.weight, decoder.bias, scale, penalty, room)


def _softmax_backward(
    cache: softmax.SoftmaxCache, decoder: Decoder, room: Workspace
) -> tuple[Array, Gradient, Gradient]:
    return softmax.backward(cache, decoder.weight, room)
