"""How many tokens per second are evaluated exactly, and how many without normalisation, compared with PyTorch?

    exact         nplm.evaluate: log-probabilities normalised over all V words, in blocks; log Z statistics included
    unnormalised  hidden states and the score of the target only: what a model that NCE has taught Z = 1 makes possible
The peer does the same under torch.inference_mode: nn.LSTM over windows of as many steps, then a product and a
log_softmax for a block of positions at a time, or the targets' rows only.  Both have the same columns, and the same
text of words by Zipf's law.

    python benchmarks/bench_eval.py --against torch
"""

import argparse
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import _timing
import numpy as np
from _tables import Section
from _workload import Shape, make_model, text

from nplm.data.streams import bounds
from nplm.layers import softmax
from nplm.model import LanguageModel
from nplm.network import hidden_states
from nplm.scoring.evaluate import evaluate
from nplm.threads import workers

SHAPES = {10_000: 20_000, 100_000: 5_000}  # V: tokens of the text
QUICK = {100: 80}
TABLE = Section(
    "Evaluation speed",
    "Tokens per second, compared with the same computation in PyTorch. `exact`: perplexity, normalised over the"
    " vocabulary; `unnormalised`: only the scores of the target words. 2 x 200 units.",
    "bench_eval.json",
    {
        "V": "vocab_size:,", "kind": "kind", "threads": "threads", "tokens/s": "tokens_per_second:,.0f",
        "PyTorch tokens/s": "peer_tokens_per_second:,.0f", "ratio": "ratio:.2f", "lowest": "ratio_low:.2f",
        "highest": "ratio_high:.2f", "samples": "samples",
    },
    plots={"eval": "Tokens per second against V, exact and unnormalised, on one and two threads."},
    command="python benchmarks/bench_eval.py --against torch",
)  # fmt: skip
SECTIONS = {"evaluation-speed": TABLE}
POSITIONS = 256  # of a window and of a block, on both sides: that of nplm.evaluate


def unnormalised(model: LanguageModel, ids: np.ndarray, threads: int) -> float:
    """Mean score of the targets of ids (steps+1,B), by shards on threads."""
    weight, bias = model.output_weight, model.params["decoder.bias"]

    def task(start: int, stop: int) -> float:
        columns = np.ascontiguousarray(ids[:, start:stop])
        state, network, total = model.zero_state(stop - start), model.network(), 0.0
        window = max(1, POSITIONS // (stop - start))
        for t in range(0, len(ids) - 1, window):
            part = columns[t : t + window + 1]
            hidden, state = hidden_states(network, part[:-1], state)
            flat = hidden.reshape(-1, hidden.shape[2])  # (N,H)
            total += float(softmax.target_scores(flat, part[1:].ravel(), weight, bias).sum())
        return total

    cuts = bounds(ids.shape[1], threads)
    with workers(threads, len(cuts)) as run:
        return sum(run([partial(task, *cut) for cut in cuts])) / ids[1:].size


def torch_side(model: LanguageModel, shape: Shape, ids: np.ndarray, kind: str, threads: int) -> _timing.Side:
    """The same in PyTorch."""
    import torch
    from _peer import PeerTrainer

    peer = PeerTrainer(model, shape, ids, threads)
    weight, bias = peer.decoder.weight, peer.bias.weight[:, 0]

    def block(hidden: Any, targets: Any) -> float:
        if kind == "unnormalised":
            scores = (hidden * weight[targets]).sum(dim=1) + bias[targets]
        else:
            scores = torch.log_softmax(torch.nn.functional.linear(hidden, weight, bias), dim=1)
            scores = scores.gather(1, targets[:, None])
        return float(scores.sum())

    @torch.inference_mode()
    def step() -> float:
        state, total = peer.state, 0.0
        window = max(1, POSITIONS // shape.B)
        for t in range(0, len(ids) - 1, window):
            part = peer.ids[t : t + window + 1]
            hidden, state = peer.rnn(peer.encoder(part[:-1]), state)
            total += block(hidden.view(-1, shape.H), part[1:].reshape(-1))
        return total / ids[1:].size

    return _timing.Side(step, peer.running)


def measure(vocab_size: int, tokens: int, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each kind and number of threads."""
    shape, rows = arguments.shape._replace(V=vocab_size, T=tokens // arguments.shape.B), []
    model = make_model(shape)
    ids = text(vocab_size, shape)[: shape.T + 1]  # (steps+1,B)
    stream = ids[1:].T.ravel()  # the columns one after the other, as nplm.evaluate cuts them again
    for threads in arguments.threads:
        exact = partial(evaluate, model, stream, batch_size=shape.B, shards=threads, threads=threads)
        ours: dict[str, Callable[[], Any]] = {
            "exact": exact,
            "unnormalised": partial(unnormalised, model, ids, threads),
        }
        for kind, step in ours.items():
            sides = {"ours": _timing.Side(step, nullcontext)}
            if arguments.against:
                sides["peer"] = torch_side(model, shape, ids, kind, threads)
            times = _timing.in_turns(sides, arguments.samples, arguments.seconds)
            rows.append(_row(shape, kind, threads, times) | {"samples": arguments.samples})
    return rows


def _row(shape: Shape, kind: str, threads: int, times: dict[str, list[float]]) -> dict[str, Any]:
    row: dict[str, Any] = {"vocab_size": shape.V, "kind": kind, "threads": threads, "tokens": shape.tokens}
    row |= {"tokens_per_second": _timing.rates(shape.tokens, times["ours"])[0]}
    row |= {"peer_tokens_per_second": None, "ratio": None, "ratio_low": None, "ratio_high": None}
    if "peer" in times:
        row["peer_tokens_per_second"] = _timing.rates(shape.tokens, times["peer"])[0]
        row |= _timing.ratios(times["peer"], times["ours"])
    return row


def main() -> None:
    flags = _timing.parser(__doc__)
    flags.add_argument("--against", choices=["torch"], help="the peer; default: none")
    arguments = _timing.parse(flags)
    arguments.shape = Shape(4, 0, 12, 12, 2, 1, 0) if arguments.quick else Shape(20, 0, 200, 200, 2, 1, 0)
    sizes = QUICK if arguments.quick else SHAPES
    rows = (row for vocab_size, tokens in sizes.items() for row in measure(vocab_size, tokens, arguments))
    _timing.finish(arguments, "bench_eval", TABLE.show(rows))


if __name__ == "__main__":
    main()
