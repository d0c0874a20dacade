"""KenLM's interface: a program written for kenlm.Model runs with nplm.Model instead.

    import nplm as kenlm
    model = kenlm.Model("run/best.safetensors")

Scores are log10, like KenLM's.  Some things differ because the model is recurrent, not an n-gram model:
- A word that the model does not know is predicted as <unk>, with <unk>'s probability, and flagged as oov.
- The history is never truncated.  `ngram_length` counts the predicted word and all words that were read since the
  state was initialised, including the </s> for the beginning of a sentence.  `order` is effectively unbounded.
- Every method that returns a score accepts normalize=False: see score.py, [V6].
- A model whose unit is not the word also takes raw text; a "word" is then a unit, written as `nplm next` shows it.
Decision 0009 lists the differences, and explains why State is KenLM's and not the model's.
"""

import os
import sys
from collections.abc import Iterator
from functools import total_ordering
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nplm import network
from nplm.arrays import Array
from nplm.layers import softmax
from nplm.logs import LN10, power
from nplm.model import LanguageModel
from nplm.scoring import score as scores
from nplm.scoring.sentences import Text, as_text, encode, kenlm_words
from nplm.storage.checkpoint import load_model
from nplm.threads import one_blas_thread


class FullScoreReturn(NamedTuple):
    """The score of a predicted word."""

    log_prob: float  # log10
    ngram_length: int  # words that the prediction depends on, and the word itself
    oov: bool


@total_ordering
class State:
    """The recurrent state (h, c) of a model after some words; a new State is the zero state.

    Equal states give equal predictions.  Arrays are replaced, never written to, so copies may share them.

    Attributes
    ----------
    read : pair of ndarray (L,1,H), or None
        h and c; None is the zero state.
    words : int
        Number of words read.
    log_z : float or None
        log Z of the prediction of the next word, in nats; None until it is needed.
    """

    def __init__(self) -> None:
        self.read: network.State | None = None
        self.words = 0
        self.log_z: float | None = None

    def write(self, read: network.State | None, words: int, log_z: float | None = None) -> None:
        """Replace the state.

        Parameters
        ----------
        read : pair of ndarray (L,1,H), or None
        words : int
        log_z : float, optional
            In nats.
        """
        self.read, self.words, self.log_z = read, words, log_z

    def key(self) -> bytes:
        """The bytes by which states are compared and hashed.

        Returns
        -------
        bytes
        """
        return b"" if self.read is None else self.read.h.tobytes() + self.read.c.tobytes()

    def __eq__(self, other: object) -> bool:
        return self.key() == other.key() if isinstance(other, State) else NotImplemented

    def __lt__(self, other: object) -> bool:
        return self.key() < other.key() if isinstance(other, State) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.key())

    def __copy__(self) -> "State":
        new = State()
        new.write(self.read, self.words, self.log_z)
        return new

    def __deepcopy__(self, memo: Any = None) -> "State":
        return self.__copy__()


class Model:
    """A language model with kenlm.Model's methods, under KenLM's names.

    Parameters
    ----------
    model : path or LanguageModel
        A model file, the folder of a run, or a model that is already loaded.

    Attributes
    ----------
    language_model : LanguageModel
        The model that computes the scores.
    path : bytes
        The absolute path, as in KenLM; empty for a model that was not loaded from a file.
    order : int
        The longest history that a score can depend on: effectively unbounded.

    Raises
    ------
    InputError
        As for `nplm.load`.
    """

    order = sys.maxsize

    def __init__(self, model: "str | bytes | os.PathLike[str] | LanguageModel") -> None:
        if isinstance(model, LanguageModel):
            self.path, self.language_model = b"", model
        else:
            path = Path(os.fsdecode(model))
            self.path, self.language_model = os.fsencode(path.absolute()), load_model(path)

    def __repr__(self) -> str:
        name = os.fsencode(Path(os.fsdecode(self.path)).name)
        return f"<Model from {name!r}>" if name else f"<Model of {self.language_model!r}>"

    def __reduce__(self) -> "tuple[type[Model], tuple[bytes | LanguageModel]]":
        """Pickle by path, as KenLM does: the file must exist when the pickle is loaded."""
        return Model, (self.path or self.language_model,)

    def __contains__(self, word: Text) -> bool:
        """Whether the model knows the word; <unk> is not a word."""
        vocabulary = self.language_model.vocabulary
        return vocabulary.id(as_text(word)) != vocabulary.unk

    def score(self, sentence: Text, bos: bool = True, eos: bool = True, normalize: bool = True) -> float:
        """Total log10 probability of a sentence.

        Parameters
        ----------
        sentence : str or bytes
            Words separated by ASCII white space, as in KenLM; for a model with another unit, raw text.
        bos : bool
            Read </s> first, for the beginning of the sentence; False: start from the zero state.
        eos : bool
            Also predict the end of the sentence.
        normalize : bool
            False: subtract the model's mean log Z instead of log Z, [V6] of score.py.

        Returns
        -------
        float
        """
        model = self.language_model
        words = kenlm_words(sentence, model.unit)
        return float(scores.score_batch(model, [words], bos=bos, eos=eos, normalize=normalize)[0])

    def full_scores(
        self, sentence: Text, bos: bool = True, eos: bool = True, normalize: bool = True
    ) -> Iterator[tuple[float, int, bool]]:
        """Score each word of a sentence, </s> last.

        Parameters
        ----------
        sentence : str or bytes
        bos : bool
            Read </s> first, for the beginning of the sentence; False: start from the zero state.
        eos : bool
            Also predict the end of the sentence.
        normalize : bool
            False: subtract the model's mean log Z instead of log Z, [V6] of score.py.

        Returns
        -------
        iterator of (float, int, bool)
            log10 probability, ngram_length, and whether the word is unknown.
        """
        model = self.language_model
        ids, lengths = encode(model.vocabulary, [kenlm_words(sentence, model.unit)], eos)
        score, log_z = scores.sentence_scores(model, ids, lengths, bos=bos, normalize=normalize)
        log_prob, oov = (score - log_z) / LN10, ids == model.vocabulary.unk
        yield from zip(log_prob.tolist(), count(2 if bos else 1), oov.tolist())

    def perplexity(self, sentence: Text, normalize: bool = True) -> float:
        """Perplexity of a sentence: 10^(-score / (words + 1)).

        Parameters
        ----------
        sentence : str or bytes
        normalize : bool
            False: subtract the model's mean log Z instead of log Z, [V6] of score.py.

        Returns
        -------
        float
        """
        tokens = len(kenlm_words(sentence, self.language_model.unit)) + 1
        return power(-self.score(sentence, normalize=normalize) / tokens)

    def BeginSentenceWrite(self, state: State) -> None:
        """Set `state` to the beginning of a sentence: the zero state after reading </s>.

        Parameters
        ----------
        state : State
        """
        state.write(_read(self.language_model, self.language_model.vocabulary.eos, None), 1)

    def NullContextWrite(self, state: State) -> None:
        """Set `state` to the zero state: nothing has been read.

        Parameters
        ----------
        state : State
        """
        state.write(None, 0)

    def BaseScore(self, in_state: State, word: Text, out_state: State, normalize: bool = True) -> float:
        """log10 probability of a word; sets `out_state` to the state after it.

        Parameters
        ----------
        in_state : State
            The state before the word.
        word : str or bytes
        out_state : State
            Written to; may be `in_state`.
        normalize : bool
            False: subtract the model's mean log Z instead of log Z, [V6] of score.py.

        Returns
        -------
        float
        """
        return self.BaseFullScore(in_state, word, out_state, normalize).log_prob

    def BaseFullScore(self, in_state: State, word: Text, out_state: State, normalize: bool = True) -> FullScoreReturn:
        """`BaseScore`, with ngram_length and oov.

        Words scored after the same state share its log Z: only the first of them costs O(V H).

        Parameters
        ----------
        in_state, word, out_state, normalize
            As for `BaseScore`.

        Returns
        -------
        FullScoreReturn
        """
        model = self.language_model
        token, length = model.vocabulary.id(as_text(word)), in_state.words + 1
        hidden = (in_state.read or model.zero_state(1)).h[-1]  # (1,H)
        weight, bias = model.output_weight, model.params["decoder.bias"]
        log_z = in_state.log_z if normalize else model.mean_log_z or 0.0
        with one_blas_thread():
            if log_z is None:
                log_z = in_state.log_z = float(softmax.normaliser(hidden, weight, bias)[0])
            score = softmax.target_scores(hidden, np.array([token], np.int32), weight, bias)[0]
            out_state.write(_read(model, token, in_state.read), length)
        return FullScoreReturn((float(score) - log_z) / LN10, length, token == model.vocabulary.unk)


def _read(model: LanguageModel, token: int, state: network.State | None) -> network.State:
    """The state after one more word, [L1] to [L5] in plain NumPy, since packing the weights would take longer."""
    h, c = state or model.zero_state(1)
    x, after_h, after_c = model.params["encoder.weight"][None, token], [], []  # (1,E)
    for k in range(model.config.num_layers):
        ih, hh, b = (model.params[name] for name in network.layer_names(k))
        i, f, g, o = np.split(x @ ih.T + h[k] @ hh.T + b, 4, axis=1)  # (1,H) each
        cell = _sigmoid(f) * c[k] + _sigmoid(i) * np.tanh(g)
        x = _sigmoid(o) * np.tanh(cell)
        after_h.append(x)
        after_c.append(cell)
    return network.State(np.stack(after_h), np.stack(after_c))


def _sigmoid(x: Array) -> Array:
    return np.asarray(0.5 + 0.5 * np.tanh(0.5 * x))
