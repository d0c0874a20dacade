"""How stale is the state that is carried from chunk to chunk, and what does it cost?  docs/learn/bptt.md, [J3].

Training updates the parameters after every chunk, so a chunk starts from a state that older parameters made.  Here a
model is trained for an epoch; in the next one, at chunks spread over its beginning, the text before the chunk is read
again with the current parameters, and the two states are compared:

    distance   |carried - recomputed| over |recomputed|, of the hidden states of all streams and layers
    nats       exact log-perplexity of the chunk from the carried state, less that from the recomputed one: the cost
    first      the same, of the chunk's first time step only, which is nearest to the state

by the learning rate (in the second epoch, where the step schedule has not lowered it yet) and by N, at S = 640.

    python benchmarks/study_staleness.py                 on the text of Python's documentation: some minutes
    python benchmarks/study_staleness.py --corpus ptb
"""

import json
from typing import Any

import _noise_cost
import _record
import numpy as np
from _noise_arms import B, S
from _tables import Section
from study_noise import TEXTS

from nplm.arrays import Array
from nplm.config import ModelConfig, TrainConfig
from nplm.data.corpus import Corpus
from nplm.data.streams import Span, Streams
from nplm.model import LanguageModel
from nplm.network import State, hidden_states
from nplm.training.trainer import Trainer

CASES = [(32, 20.0), (32, 5.0), (32, 1.25), (8, 20.0), (2, 20.0), (64, 20.0)]  # N and rate
PROBES = 8
PLACE = _record.by("text", "chunks", "lr", "seed")
TABLE = Section(
    "How stale the carried state is",
    "The state that is carried into a chunk, compared with one recomputed with the current parameters; means over"
    " chunks of the second epoch. `distance`: of the hidden states, relative to the recomputed one; `cost`: the chunk's"
    " loss from the carried state minus that from the recomputed one, exact, in nats per token, with its standard error"
    " over the chunks; `of the first step`: the same for the chunk's first time step alone. One layer of 100 units,"
    " S = 640, K = 100.",
    "study_staleness.json",
    {
        "text": "text", "N": "chunks", "T": "bptt", "rate": "lr:g", "distance": "distance:.3f", "cost": "nats:+.5f",
        "standard error": "error:.5f", "of the first step": "first:+.4f", "chunks": "probes",
    },
    command="python benchmarks/study_staleness.py",
)  # fmt: skip
SECTIONS = {"staleness": TABLE}


def nats(model: LanguageModel, inputs: Array, targets: Array, state: State) -> Array:
    """Minus the exact log-probability of every target (T,B)."""
    log_probs, _ = model.log_probs(inputs, state)
    return -np.take_along_axis(log_probs, targets[..., None], axis=2)[..., 0]


def recomputed(model: LanguageModel, streams: Streams, stop: int) -> State:
    """The state after the steps [0, stop) of every stream, all read with the model's parameters."""
    state, network = model.zero_state(streams.batch_size), model.network()
    for start in range(0, stop, S):
        inputs, _ = streams.window(start, min(start + S, stop))
        _, state = hidden_states(network, inputs, state)
    return state


def compare(trainer: Trainer, span: Span) -> dict[str, float]:
    """Distance, nats and first of the chunk that comes next."""
    model, carried = trainer.model, trainer.state
    fresh = recomputed(model, trainer.streams, span.start)
    inputs, targets = trainer.streams.window(span.start, span.stop)
    difference = nats(model, inputs, targets, carried) - nats(model, inputs, targets, fresh)
    distance = np.linalg.norm(carried.h - fresh.h) / np.linalg.norm(fresh.h)
    return {"distance": float(distance), "nats": float(difference.mean()), "first": float(difference[0].mean())}


def row(corpus: Corpus, hidden: int, chunks: int, lr: float, seed: int, probes: int) -> dict[str, Any]:
    """Train for an epoch, then up to the last probe; the means over the probes."""
    config = TrainConfig(
        bptt=S // chunks, sequence_length=S, batch_size=B, num_noise=100, lr=lr, seed=seed, shards=1, threads=1
    )
    sizes = ModelConfig(len(corpus.vocabulary), hidden, hidden, 1)
    model = LanguageModel.init(sizes, corpus.vocabulary, np.random.default_rng(seed))
    trainer = Trainer(model, Streams(corpus.train, B), config)
    for span in trainer.spans:
        trainer.step(span)
    trainer.end_epoch()
    places = np.linspace(2 * chunks, min(8 * chunks, len(trainer.spans) - 2), probes).astype(int)
    found = []
    for k, span in enumerate(trainer.spans[: places[-1] + 1]):
        if k in places:
            found.append(compare(trainer, span))
        trainer.step(span)
    means = {name: float(np.mean([probe[name] for probe in found])) for name in found[0]}
    error = float(np.std([probe["nats"] for probe in found], ddof=1) / np.sqrt(len(found)))
    return {"chunks": chunks, "bptt": config.bptt, "lr": lr, "seed": seed, "probes": len(found), "error": error} | means


def main() -> None:
    parser = _record.parser(__doc__, "a tiny model and few chunks", "study_staleness")
    parser.add_argument("--corpus", choices=list(TEXTS), default="python")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    text, hidden = TEXTS[arguments.corpus]
    corpus = _noise_cost.load(text)
    path = _record.path_of(arguments, "study_staleness")
    for chunks, lr in CASES[:2] if arguments.quick else CASES:
        size, probes = (8, 2) if arguments.quick else (hidden, PROBES)
        new = {"text": arguments.corpus} | row(corpus, size, chunks, lr, arguments.seed, probes)
        new |= {"commit": _record.commit()}
        print(json.dumps(new), flush=True)
        if path:
            _record.merge(path, [new], PLACE)


if __name__ == "__main__":
    main()
