"""Synthetic sources: texts whose lowest possible loss is known exactly.

A hidden Markov source with S states and W words.  P (S,S) moves the state, B (S,W) emits a word from it:

    [H1] z_t ~ P[z_{t-1}],  w_t ~ B[z_t]
    [H2] pi = pi P                                        the stationary distribution of the state
    [H3] z_0 ~ pi B[:, </s>] / sum                        the text starts after </s>
    [H4] a_0 = P(z_0),  u_t = (a_{t-1} P) * B[:, w_t],  p(w_t | past) = sum u_t,  a_t = u_t / sum u_t
    [H5] p(w' | w) = sum_z (pi B[:, w] / sum)_z (P B)[z, w']      the best bigram model
    [H6] h = -sum_z pi_z sum_z' P[z, z'] log P[z, z']     entropy rate of a Markov chain, B = I

Equation [H4] is the forward algorithm, rescaled at every step; its -log p is the loss of the best possible model.
A Markov chain is the case B = I: the state is the word, and [H4] and [H5] give the same numbers.
"""

from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nplm.data.corpus import Corpus, Floor, unigram_perplexity
from nplm.data.tokens import EOS
from nplm.data.vocabulary import Vocabulary

Floats = npt.NDArray[np.float64]
Emitted = npt.NDArray[np.int64]

SIZES = {"train": 400_000, "valid": 20_000, "test": 100_000}  # tokens, </s> counted
NUM_WORDS = 64  # W, </s> included
CHAIN_SUCCESSORS = 8  # words that may follow a word of the Markov chain, besides </s>
NUM_STATES = 8  # S of the hidden Markov source
STAY = 0.9  # probability that its state stays the same
BLOCKS = 100  # blocks of the test text whose means give the standard error


@dataclass(frozen=True, eq=False)
class Source:
    """A hidden Markov source.  Word 0 is </s>; the rows of both matrices sum to 1, and every state can be reached."""

    words: tuple[str, ...]  # W
    transition: Floats  # (S,S) P
    emission: Floats  # (S,W) B

    def stationary(self) -> Floats:
        """The stationary distribution of the state (S,), [H2]."""
        size = len(self.transition)
        equations = self.transition.T - np.eye(size)
        equations[-1] = 1.0  # one equation of [H2] is redundant; sum(pi) = 1 replaces it
        probs: Floats = np.linalg.solve(equations, np.eye(size)[-1])
        return probs

    def posterior(self) -> Floats:
        """The distribution of the state given the word it has just emitted (W,S); row 0 is [H3]."""
        return _normalise((self.stationary()[:, None] * self.emission).T)

    def sample(self, n: int, rng: np.random.Generator) -> Emitted:
        """n words (n,) that follow a </s>, [H1]."""
        moves, emits = _cumulative(self.transition), _cumulative(self.emission)
        state = bisect_right(_cumulative(self.posterior())[0], rng.random())
        out = []
        for move, emit in rng.random((n, 2)).tolist():
            state = bisect_right(moves[state], move)
            out.append(bisect_right(emits[state], emit))
        return np.array(out, dtype=np.int64)

    def losses(self, text: npt.NDArray[Any]) -> Floats:
        """-log p (n,) in nats of each word of the text (n,) given </s> and all words before it, [H4]."""
        belief = self.posterior()[0]  # (S,) a
        likelihood = self.emission.T.copy()  # (W,S)
        probs = np.empty(len(text))
        for t, word in enumerate(text.tolist()):
            joint = (belief @ self.transition) * likelihood[word]  # (S,) u
            probs[t] = joint.sum()
            belief = joint / probs[t]  # rescaled: the joint probability itself underflows within 300 words
        return -np.log(probs)

    def bigram(self) -> Floats:
        """p(w' | w) (W,W) of the best bigram model, [H5]."""
        probs: Floats = self.posterior() @ self.transition @ self.emission
        return probs


def entropy_rate(chain: Source) -> float:
    """Entropy rate in nats per word of a Markov chain (B = I), [H6]."""
    logs = np.log(chain.transition, where=chain.transition > 0, out=np.zeros_like(chain.transition))
    return -float(chain.stationary() @ (chain.transition * logs).sum(axis=1))


def markov_chain(rng: np.random.Generator) -> Source:
    """A random chain: each word has 8 successors, and its own probability, 2 to 18 %, of being followed by </s>.

    So there are about 500 free parameters, and 400,000 words determine them to a thousandth of a nat.
    """
    follows = np.zeros((NUM_WORDS, NUM_WORDS))
    for word, row in enumerate(follows):
        order = 1 + np.argsort(rng.random(NUM_WORDS - 1))[:CHAIN_SUCCESSORS]
        order[0] = 1 + word % (NUM_WORDS - 1)  # a ring through all words, so that each can be reached
        row[order] = _exponential(rng, CHAIN_SUCCESSORS)
    ends = 0.02 + 0.16 * rng.random(NUM_WORDS)
    ends[0] = 0.0  # no empty lines
    transition = _normalise(follows) * (1.0 - ends[:, None])
    transition[:, 0] = ends
    return Source(_words(), transition, np.eye(NUM_WORDS))


def hidden_markov(rng: np.random.Generator) -> Source:
    """A random source with 8 sticky states (topics), which mostly follow each other in a ring.

    A few words are likely in each state, and most words occur in several, so that a dozen words identify the state
    well and one word does not.  </s> comes from two of the states.
    """
    ring = np.roll(np.eye(NUM_STATES), 1, axis=1)
    jump = _normalise(_exponential(rng, NUM_STATES, NUM_STATES))
    transition = STAY * np.eye(NUM_STATES) + (1.0 - STAY) * (0.8 * ring + 0.2 * jump)
    ends = np.zeros(NUM_STATES)
    ends[[0, NUM_STATES // 2]] = 0.3, 0.2
    likes = _exponential(rng, NUM_STATES, NUM_WORDS) ** 3  # the cube makes a few words much likelier
    likes[:, 0] = 0.0
    emission = _normalise(likes) * (1.0 - ends[:, None])
    emission[:, 0] = ends
    return Source(_words(), transition, emission)


def load_markov(seed: int) -> Corpus:
    """The corpus `markov`: text of a random Markov chain.  Its best bigram model is the floor."""
    chain = markov_chain(_rng(seed, "source"))
    how = "mean -log p(word | word before it) over the test text"
    return _corpus("markov", chain, seed, f"{how}; the chain's entropy rate is {entropy_rate(chain):.5f} nats")


def load_hmm(seed: int) -> Corpus:
    """The corpus `hmm`: text of a random hidden Markov source.  Its best bigram model is well above the floor."""
    source = hidden_markov(_rng(seed, "source"))
    how = "mean -log p(word | all words before it) over the test text, by the forward algorithm"
    return _corpus("hmm", source, seed, how)


def standard_error(losses: Floats) -> float:
    """Standard error of the mean of the losses (n,), from block means, since neighbouring losses are correlated."""
    means = np.array([block.mean() for block in np.array_split(losses, BLOCKS)])
    return float(means.std(ddof=1) / np.sqrt(BLOCKS))


def _corpus(name: str, source: Source, seed: int, how: str) -> Corpus:
    texts = {part: source.sample(size, _rng(seed, part)) for part, size in SIZES.items()}
    counts = Counter(dict(zip(source.words, np.bincount(texts["train"]).tolist(), strict=False)))
    vocabulary = Vocabulary.from_counts(counts, words=source.words)
    id_of = vocabulary.encode(source.words)  # (W,) from the source's numbers to ids
    losses = source.losses(texts["test"])
    before = np.concatenate([[0], texts["test"][:-1]])
    bigram = float(np.exp(-np.log(source.bigram()[before, texts["test"]]).mean()))
    test = id_of[texts["test"]]
    return Corpus(
        name=name,
        vocabulary=vocabulary,
        train=id_of[texts["train"]],
        valid=id_of[texts["valid"]],
        test=test,
        floor=Floor(float(losses.mean()), standard_error(losses), how),
        baselines={"unigram": unigram_perplexity(vocabulary, test), "best bigram": bigram},
    )


def _words() -> tuple[str, ...]:
    syllables = [consonant + vowel for consonant in "bdfgklmnprstv" for vowel in "aeiou"]
    return (EOS, *syllables[: NUM_WORDS - 1])


def _normalise(rows: Floats) -> Floats:
    out: Floats = rows / rows.sum(axis=1, keepdims=True)
    return out


def _cumulative(rows: Floats) -> list[list[float]]:
    sums = np.cumsum(rows, axis=1)
    out: list[list[float]] = (sums / sums[:, -1:]).tolist()  # ends in exactly 1, so no word of probability 0 is drawn
    return out


def _exponential(rng: np.random.Generator, *shape: int) -> Floats:
    # From uniform numbers, because NumPy may change how `exponential` and `dirichlet` use random bits.
    out: Floats = -np.log1p(-rng.random(shape))
    return out


def _rng(seed: int, purpose: str) -> np.random.Generator:
    return np.random.default_rng([seed, *purpose.encode()])
