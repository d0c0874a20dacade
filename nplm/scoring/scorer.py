"""What evaluation and scoring share: a text's hidden states, window by window, and the resulting scores.

[V5] log p(w | history) = s(w) - log Z             exact: log Z sums over the whole vocabulary, O(V H) per word

A text is read as parallel streams with carried state, or as sentences, each from the zero state.  Memory is
bounded: a window has at most the requested number of positions, and is dropped after scoring.
"""

from collections.abc import Iterator

import numpy as np

from nplm.arrays import Array
from nplm.data.streams import Streams, split
from nplm.layers import softmax
from nplm.model import LanguageModel
from nplm.network import Network, State, hidden_states

Scores = tuple[Array, Array]  # (n,) float64 each, nats: s(n, target_n), and log Z
Window = tuple[Array, Array]  # hidden states (n,H), and words (n,) or their positions in the text


def read_streams(
    model: LanguageModel, network: Network, streams: Streams, start: int, stop: int, positions: int
) -> Iterator[Window]:
    """Hidden states and target words of streams start to stop, from their first step to their last."""
    state = model.zero_state(stop - start)
    steps = max(1, positions // (stop - start))
    for span in split(streams.full_steps, streams.tail > 0, streams.num_steps, steps):
        inputs, targets = streams.window(span.start, span.stop)
        inputs, targets = inputs[:, start:stop], targets[:, start:stop]  # (t,b); the tail may be narrower
        if inputs.size:
            hidden, state = hidden_states(network, inputs, state.columns(0, inputs.shape[1]))
            yield hidden.reshape(targets.size, -1), targets.ravel()


def read_sentences(
    model: LanguageModel,
    network: Network,
    ids: Array,
    starts: Array,
    lengths: Array,
    positions: int,
    *,
    bos: bool = True,
) -> Iterator[Window]:
    """Hidden states of sentences in parallel, and the positions in ids (n,) of the words that they predict.

    starts, lengths (b,): where each sentence begins, and its number of tokens, >= 1; longest first, so that the columns
    of finished sentences can be dropped.  bos: </s> is read before the first word; otherwise nothing is.
    """
    state, first = model.zero_state(starts.size), 0
    while starts.size:
        last = min(first + max(1, positions // starts.size), int(lengths[0]))
        times = np.arange(first, last)[:, None]  # (t,1)
        live = times < lengths  # (t,b)
        places = np.where(live, starts + times, starts)  # (t,b)
        inputs = np.where(times > 0, ids[places - 1], network.eos)
        hidden, state = _read(network, inputs, state, bos or first > 0)
        yield hidden[live], places[live]
        going_on = int(np.count_nonzero(lengths > last))
        starts, lengths = starts[:going_on], lengths[:going_on]
        state, first = state.columns(0, going_on), last


@np.errstate(over="ignore", invalid="ignore")  # a model that is not finite has scores that are not
def score_words(network: Network, hidden: Array, words: Array, normalize: bool = True) -> Scores:
    """s (n,) and log Z (n,) of words (n,) after hidden states (n,H), [V5]; log Z is zero unless normalize."""
    weight, bias = network.decoder.weight, network.decoder.bias
    flat = np.ascontiguousarray(hidden)
    scores = softmax.target_scores(flat, words, weight, bias).astype(np.float64)
    log_z = softmax.normaliser(flat, weight, bias, network.bfloat16) if normalize else np.zeros(len(flat))
    return scores, log_z


def _read(network: Network, inputs: Array, state: State, begun: bool) -> tuple[Array, State]:
    """Hidden states (t,b,H) and the state after inputs (t,b); unless begun, the first row is not read."""
    if begun:
        return hidden_states(network, inputs, state)
    hidden = np.zeros((*inputs.shape, state.h.shape[2]), state.h.dtype)
    if len(inputs) > 1:
        hidden[1:], state = hidden_states(network, inputs[1:], state)
    return hidden, state
