"""Oracles: a closed form, enumeration over all hidden paths, sampled frequencies, the texts of the parts."""

import hashlib
import itertools
import math
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from nplm.data import builtin, synthetic
from nplm.data.corpus import Corpus
from nplm.data.synthetic import Source, entropy_rate, hidden_markov, markov_chain, standard_error
from nplm.errors import InputError

SMALL = Source(
    words=("</s>", "a", "b", "c"),
    transition=np.array([[0.7, 0.2, 0.1], [0.05, 0.6, 0.35], [0.3, 0.15, 0.55]]),
    emission=np.array([[0.3, 0.4, 0.2, 0.1], [0.1, 0.05, 0.25, 0.6], [0.2, 0.5, 0.15, 0.15]]),
)
TEXT = np.array([2, 1, 0, 3, 1, 3])


def enumerated_losses(source: Source, text: np.ndarray) -> np.ndarray:
    """-log p of each word given </s> and the words before it, by the sum over every hidden path z_0 ... z_n."""
    states = range(len(source.transition))
    squared = np.linalg.matrix_power(source.transition, 200)  # every row is the stationary distribution
    prefix_probs = []
    for n in range(len(text) + 1):
        total = 0.0
        for path in itertools.product(states, repeat=n + 1):
            prob = squared[0, path[0]] * source.emission[path[0], 0]  # z_0 has emitted </s>
            for before, state, word in zip(path, path[1:], text, strict=False):
                prob *= source.transition[before, state] * source.emission[state, word]
            total += prob
        prefix_probs.append(total)
    return -np.diff(np.log(prefix_probs))


# ---- synthetic sources


def test_entropy_rate_of_two_states() -> None:
    """Oracle: the closed form (b H(a) + a H(b)) / (a + b), H the entropy of a coin."""

    def coin(p: float) -> float:
        return -p * math.log(p) - (1 - p) * math.log(1 - p)

    a, b = 0.3, 0.05
    chain = Source(("</s>", "x"), np.array([[1 - a, a], [b, 1 - b]]), np.eye(2))
    assert_allclose(chain.stationary(), [b / (a + b), a / (a + b)], rtol=1e-14)
    assert_allclose(entropy_rate(chain), (b * coin(a) + a * coin(b)) / (a + b), rtol=1e-14)


def test_entropy_rate_with_impossible_moves() -> None:
    """Oracle: a ring of three words is never surprising, and 0 log 0 is 0."""
    assert entropy_rate(Source(("</s>", "x", "y"), np.roll(np.eye(3), 1, axis=1), np.eye(3))) == 0.0


def test_forward_equals_enumeration() -> None:
    """Oracle: the sum over all 3^7 hidden paths."""
    assert_allclose(SMALL.losses(TEXT), enumerated_losses(SMALL, TEXT), rtol=1e-12)


def forward_with(bug: str, source: Source, text: np.ndarray) -> np.ndarray:
    """[H4] with one planted bug."""
    probs, out = source.posterior()[0], []
    if bug == "started stationary":
        probs = source.stationary()
    for word in text:
        if bug == "transition transposed":
            joint = (source.transition @ probs) * source.emission[:, word]
        elif bug == "emitted before the move":
            joint = (probs * source.emission[:, word]) @ source.transition
        else:
            joint = (probs @ source.transition) * source.emission[:, word]
        out.append(-math.log(joint.sum()))
        probs = joint if bug == "not rescaled" else joint / joint.sum()
    return np.array(out)


BUGS = ["not rescaled", "transition transposed", "emitted before the move", "started stationary"]


@pytest.mark.parametrize("bug", BUGS)
def test_planted_bug_in_forward_is_seen(bug: str) -> None:
    """Oracle: the enumeration differs from each wrong recursion, and agrees with the same code without its bug."""
    right = enumerated_losses(SMALL, TEXT)
    assert_allclose(forward_with("", SMALL, TEXT), right, rtol=1e-12)
    assert np.abs(forward_with(bug, SMALL, TEXT) - right).max() > 1e-3


def test_forward_does_not_underflow() -> None:
    """Oracle: the joint probability of 3000 words is below the least float64, yet each word's loss is finite."""
    losses = SMALL.losses(SMALL.sample(3000, np.random.default_rng(3)))
    assert losses.sum() > -math.log(sys.float_info.min) and np.isfinite(losses).all()


def test_bigram_is_the_marginal_of_enumeration() -> None:
    """Oracle: p(w' | </s>) is the first word's probability by enumeration."""
    first = [math.exp(-enumerated_losses(SMALL, np.array([word]))[0]) for word in range(4)]
    assert_allclose(SMALL.bigram()[0], first, rtol=1e-12)
    assert_allclose(SMALL.bigram().sum(axis=1), 1.0, rtol=1e-14)


def chi_square(source: Source, probs: np.ndarray) -> tuple[float, int]:
    """Pearson's statistic of 200,000 sampled pairs against p(w' | w), and its degrees of freedom."""
    text = np.concatenate([[0], source.sample(200_000, np.random.default_rng(11))])
    pairs = np.zeros(probs.shape)
    np.add.at(pairs, (text[:-1], text[1:]), 1)
    expected = pairs.sum(axis=1, keepdims=True) * probs
    assert not pairs[probs == 0].any(), "an impossible pair was drawn"
    possible = probs > 0
    statistic = ((pairs - expected)[possible] ** 2 / expected[possible]).sum()
    return float(statistic), int(possible.sum() - len(probs))


def test_sampled_pairs_follow_the_transitions() -> None:
    """Oracle: a chi-square test against the transition matrix, which fails when 5 % of each row is moved."""
    chain = markov_chain(np.random.default_rng(5))
    statistic, freedom = chi_square(chain, chain.transition)
    assert abs(statistic - freedom) < 4 * math.sqrt(2 * freedom)
    moved = np.where(chain.transition > 0, 0.95 * chain.transition, 0.0)
    moved[np.arange(len(moved)), chain.transition.argmax(axis=1)] += 0.05
    statistic, freedom = chi_square(chain, moved)
    assert statistic - freedom > 4 * math.sqrt(2 * freedom)


def test_sampled_pairs_of_a_hidden_source() -> None:
    """Oracle: frequencies of pairs against [H5], within 10 standard errors of independent draws (these depend)."""
    text = np.concatenate([[0], SMALL.sample(200_000, np.random.default_rng(11))])
    for word in range(4):
        after = text[1:][text[:-1] == word]
        probs = SMALL.bigram()[word]
        spread = np.sqrt(probs * (1 - probs) / len(after))
        assert (np.abs(np.bincount(after, minlength=4) / len(after) - probs) < 10 * spread).all()


@pytest.mark.parametrize("build", [markov_chain, hidden_markov])
def test_sources_are_proper(build) -> None:
    """Oracle: rows are distributions, and pi P = pi with every state and word possible."""
    source = build(np.random.default_rng(8))
    for rows in (source.transition, source.emission):
        assert rows.min() >= 0
        assert_allclose(rows.sum(axis=1), 1.0, rtol=1e-14)
    probs = source.stationary()
    assert_allclose(probs @ source.transition, probs, atol=1e-15)
    assert probs.min() > 1e-4 and (probs @ source.emission).min() > 1e-5


def test_standard_error_of_independent_losses() -> None:
    """Oracle: sd / sqrt(n) where the losses are independent, and 10 sd / sqrt(n) where each is repeated 100 times."""
    losses = np.random.default_rng(2).normal(size=40_000)
    assert_allclose(standard_error(losses), 1 / 200, rtol=0.25)
    assert_allclose(standard_error(np.repeat(losses[:4000], 100)), 1 / math.sqrt(4000), rtol=0.25)


@pytest.fixture(scope="module")
def markov() -> Corpus:
    return builtin.load("markov")


@pytest.fixture(scope="module")
def hmm() -> Corpus:
    return builtin.load("hmm")


def test_markov_floor(markov: Corpus) -> None:
    """Oracle: the entropy rate, within 4 standard errors; and the mean of -log P over the ids of the test text."""
    chain = markov_chain(synthetic._rng(1, "source"))
    assert markov.floor and markov.test is not None
    assert abs(markov.floor.nats - entropy_rate(chain)) < 4 * markov.floor.std_error
    assert f"{entropy_rate(chain):.5f}" in markov.floor.description
    number = {word: i for i, word in enumerate(chain.words)}
    states = [number[token] for token in ["</s>", *markov.vocabulary.decode(markov.test)]]
    mean = -np.log([chain.transition[pair] for pair in itertools.pairwise(states)]).mean()
    assert_allclose(markov.floor.nats, mean, rtol=1e-12)
    assert_allclose(markov.baselines["best bigram"], markov.floor.perplexity, rtol=1e-12)
    assert markov.baselines["unigram"] > 5 * markov.floor.perplexity


def test_hmm_floor_is_below_the_best_bigram(hmm: Corpus) -> None:
    """Oracle: bigram counts of the test text itself, which no bigram model beats by more than overfitting allows."""
    assert hmm.floor and hmm.test is not None
    assert hmm.floor.perplexity * 1.1 < hmm.baselines["best bigram"] < hmm.baselines["unigram"] / 1.1
    size, before = len(hmm.vocabulary), np.concatenate([[hmm.vocabulary.eos], hmm.test[:-1]])
    pairs = np.zeros((size, size))
    np.add.at(pairs, (before, hmm.test), 1)
    fitted = pairs / np.maximum(pairs.sum(axis=1, keepdims=True), 1)
    nats = -np.log(fitted[before, hmm.test]).mean()
    overfitting = (pairs > 0).sum() / (2 * len(hmm.test))  # nats, half a parameter's worth each
    assert 0 < math.log(hmm.baselines["best bigram"]) - nats < 1.5 * overfitting


@pytest.mark.parametrize("name", ["markov", "hmm"])
def test_synthetic_texts(name: str, request: pytest.FixtureRequest) -> None:
    """Oracle: the sizes asked for; counts of the training text; the three parts are different texts."""
    corpus = request.getfixturevalue(name)
    assert {part: len(getattr(corpus, part)) for part in synthetic.SIZES} == synthetic.SIZES
    assert_array_equal(np.bincount(corpus.train, minlength=len(corpus.vocabulary)), corpus.vocabulary.counts)
    assert corpus.vocabulary.counts[0] == 0 and corpus.vocabulary.counts[1:].min() > 0
    assert (corpus.train[:500] != corpus.test[:500]).any() and (corpus.valid[:500] != corpus.test[:500]).any()


def test_another_seed_is_another_source(hmm: Corpus) -> None:
    """Oracle: the same seed gives the same ids, another seed another floor."""
    assert_array_equal(builtin.load("hmm", seed=1).train, hmm.train)
    assert builtin.load("hmm", seed=2).floor.nats != hmm.floor.nats


# ---- the python corpus


@pytest.fixture(scope="module")
def python() -> Corpus:
    return builtin.load("python")


def test_python_corpus(python: Corpus) -> None:
    """Oracle: the sizes that the design asks for, about 480,000 tokens of which about 90 % are for training."""
    version = ".".join(map(str, sys.version_info[:3]))
    assert python.name.startswith(f"python-{version}")
    sizes = np.array([len(python.train), len(python.valid), len(python.test)])
    assert 300_000 < sizes.sum() < 700_000
    assert_allclose(sizes / sizes.sum(), [0.9, 0.05, 0.05], atol=0.03)
    assert 4000 < len(python.vocabulary) < 9000
    assert python.vocabulary.counts[2:].min() == builtin.MIN_COUNT
    assert_array_equal(np.bincount(python.train, minlength=len(python.vocabulary)), python.vocabulary.counts)
    for ids in (python.train, python.valid, python.test):
        assert ids[-1] == python.vocabulary.eos and (ids == 0).mean() < 0.06
    assert 200 < python.baselines["unigram"] < 600


def test_no_paragraph_is_shared() -> None:
    """Oracle: all paragraphs of the three parts, compared as text; each stands once in one part."""
    documents = itertools.chain(builtin.reference_documents(), builtin.library_documents(Path(os.__file__).parent))
    parts = builtin.split_parts(documents)
    texts = [" ".join(itertools.chain(*paragraph)) for part in parts.values() for paragraph in part]
    assert len(texts) > 10_000
    assert len(set(texts)) == len(texts)


def test_repeated_documents_and_paragraphs_are_dropped() -> None:
    """Oracle: a few documents written here, more than the 20 needed to reach all parts, and twice each."""
    documents = [f"Shared   text\nhere.\n\nDocument {'x' * i} says so.  And more." for i in range(100)]
    once = builtin.split_parts(documents)
    assert builtin.split_parts(documents * 2) == once
    paragraphs = [paragraph for part in once.values() for paragraph in part]
    assert len(paragraphs) == 101 and all(once.values())
    assert paragraphs.count([["Shared", "text", "here", "."]]) == 1


def test_tokenise() -> None:
    """Oracle: a paragraph tokenised by hand."""
    text = "Don't use x_1 -- see PEP 3107!  \u201cWell\u201d, é\x00 e.g.\n>>> f(12)\n* an item\n"
    assert builtin.tokenise(text) == [
        ["Don't", "use", "x", "_", "N", "--", "see", "PEP", "N", "!"],
        ['"', "Well", '"', ",", "é", "e", ".", "g", "."],
        [">>>", "f", "(", "N", ")"],
        ["*", "an", "item"],
    ]
    assert builtin.tokenise(" \n \ud800") == []


def fingerprint(corpus: Corpus) -> str:
    texts = [corpus.vocabulary.to_bytes(), *(ids.tobytes() for ids in (corpus.train, corpus.valid, corpus.test))]
    return hashlib.sha256(b"".join(texts)).hexdigest()


def test_same_bytes_for_any_hash_seed(python: Corpus) -> None:
    """Oracle: another process, with another PYTHONHASHSEED than this one."""
    seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    code = (
        "from nplm.data.builtin import load; from test_builtin import fingerprint; print(fingerprint(load('python')))"
    )
    folders = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": folders}
    other = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert other.stdout.strip() == fingerprint(python), other.stderr


def test_library_is_read_not_run(tmp_path: Path) -> None:
    """Oracle: modules written here: one that would fail if run, old spellings, tests, templates, any listing order."""
    sources = {
        "b.py": '"""Module b."""\nraise SystemExit\nif 1:\n    def f():\n        """In if."""\n',
        "a.py": 'class A:\n    "Class a."\n    def f(self):\n        "Method."\n        x = "\\d" is 1\n',
        "test/c.py": '"""A test."""',
        "pkg/tests/d.py": '"""A test."""',
        "pkg/e.py": "# -*- coding: latin-1 -*-\n'''Caf\xe9.'''\nasync def g():\n    '''Later.'''\n",
        "not-a-package/f.py": '"""Not a package."""',
        "template.py": "class ${name}: pass",
        "nul.py": "'''x'''\0",
        "notes.txt": '"""Not Python."""',
    }
    for name, text in sources.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode("latin-1"))
    documents = []
    with pytest.raises(InputError, match=r"only 3 \.py files"):
        documents.extend(builtin.library_documents(tmp_path))
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(builtin, "MIN_MODULES", 3)
        listed = Path.iterdir
        patch.setattr(Path, "iterdir", lambda folder: reversed(sorted(listed(folder))))
        warnings.simplefilter("error")
        documents = list(builtin.library_documents(tmp_path))
    assert documents == ["Class a.", "Method.", "Module b.", "In if.", "Caf\xe9.", "Later."]


# ---- bad input


@pytest.mark.parametrize("library", ["no-such-folder", "."])
def test_stripped_sources(library: str, tmp_path: Path) -> None:
    """Oracle: one line that names the folder and the remedy, for a missing and for an empty library."""
    message = r"^corpus python: .* has only 0 .py files .*; use the `corpus` markov"
    with pytest.raises(InputError, match=message) as info:
        builtin.load_python(tmp_path / library)
    assert "\n" not in str(info.value)


def test_stripped_reference_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Oracle: an interpreter in which the import fails."""
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    with pytest.raises(InputError, match=r"^corpus python: .*pydoc_data.topics; use the `corpus` markov"):
        builtin.load("python")


def test_unknown_name_and_seed() -> None:
    """Oracle: the message names the choices, or the value."""
    with pytest.raises(InputError, match="corpus 'ptb' is not one of python, markov, hmm"):
        builtin.load("ptb")
    with pytest.raises(InputError, match="seed = -1 is less than 0"):
        builtin.load("markov", seed=-1)
