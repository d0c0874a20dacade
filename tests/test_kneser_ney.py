"""The n-gram yardstick.  Oracles: its equations on dictionaries, sums over all words, sums by hand, an entropy."""

import importlib
import json
import math
import os
import re
import subprocess
import sys
from collections import Counter, defaultdict
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from conftest import make_model

from nplm.data import builtin
from nplm.errors import InputError
from nplm.scoring.score import word_scores
from nplm.storage import checkpoint

FOLDER = Path(__file__).resolve().parent.parent / "benchmarks"
UNK, EOS = 0, 1


@pytest.fixture(scope="module")
def kn():
    """The module benchmarks/kneser_ney.py."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        yield importlib.import_module("kneser_ney")


class Twin:
    """[K1] to [K4] as printed, on dictionaries of tuples of words; "<s>" is the word before a sentence."""

    def __init__(self, ids, vocab_size, order):
        self.vocab_size, self.order = vocab_size, order
        self.counts = [self.adjusted(sentences(ids), k) for k in range(order + 1)]
        self.discounts = [self.discount(table) for table in self.counts]

    def adjusted(self, texts, k):
        occurs, before = Counter(), defaultdict(set)
        for text in texts:
            for i in range(len(text) - k + 1):
                gram = tuple(text[i : i + k])
                occurs[gram] += 1
                if i:
                    before[gram].add(text[i - 1])
        raw = {g for g in occurs if k == self.order or g[:1] == ("<s>",)}
        return {g: occurs[g] if g in raw else len(before[g]) for g in occurs if g != ("<s>",)}

    def discount(self, table):
        n = [0, *(sum(count == j for count in table.values()) for j in (1, 2, 3, 4))]
        fallback = {0: 0, 1: 0.5, 2: 1.0, 3: 1.5}
        if 0 in n[1:]:
            return fallback
        y = n[1] / (n[1] + 2 * n[2])
        d = {0: 0, 1: 1 - 2 * y * n[2] / n[1], 2: 2 - 3 * y * n[3] / n[2], 3: 3 - 4 * y * n[4] / n[3]}
        return d if all(0 < d[j] <= j for j in (1, 2, 3)) else fallback

    def prob(self, word, context):
        """p(word | the last words of context, as many as the order allows)."""
        context = tuple(context)[len(context) - min(self.order - 1, len(context)) :]
        table, d = self.counts[len(context) + 1], self.discounts[len(context) + 1]
        after = [table.get((*context, w), 0) for w in range(self.vocab_size)]
        shorter = self.prob(word, context[1:]) if context else 1 / self.vocab_size
        if not sum(after):
            return shorter
        taken = [d[min(count, 3)] for count in after]
        return (after[word] - taken[word]) / sum(after) + sum(taken) / sum(after) * shorter

    def log_probs(self, ids):
        return np.log([self.prob(text[i], text[:i]) for text in sentences(ids) for i in range(1, len(text))])


def sentences(ids):
    """The text's sentences, each a list that begins with "<s>"; the last one may have no end."""
    texts = [["<s>"]]
    for i, word in enumerate(ids.tolist()):
        texts[-1].append(word)
        if word == EOS and i + 1 < len(ids):
            texts.append(["<s>"])
    return texts


def zipf_text(vocab_size, n, seed):
    """Ids (n,) of words drawn by Zipf's law, each mostly the one before it plus 1; sentences of all lengths from 0."""
    rng = np.random.default_rng(seed)
    weights = 1 / np.arange(1, vocab_size + 1)
    ids = rng.choice(vocab_size, n, p=weights / weights.sum())
    for i in np.flatnonzero(rng.random(n - 1) < 0.5):
        ids[i + 1] = (ids[i] + 1) % vocab_size
    return ids.astype(np.int32)


@pytest.mark.parametrize("order", [1, 2, 3, 4, 5])
def test_the_equations_on_dictionaries(kn, order):
    """Twin: every word of a text seen and of one with unknown words and contexts, one without </s> at its end."""
    vocab_size = 31
    ids, other = zipf_text(vocab_size - 1, 900, seed=1), zipf_text(vocab_size, 200, seed=2)
    other[::50] = vocab_size - 1
    assert vocab_size - 1 not in ids and other[-1] != EOS
    twin, model = Twin(ids, vocab_size, order), kn.train(ids, vocab_size, order)
    for level, discounts in zip(model.levels, twin.discounts[1:], strict=True):
        np.testing.assert_allclose(level.discounts, [*discounts.values()], rtol=1e-14)
    assert order == 1 or any(level.discounts != kn.FALLBACK for level in model.levels)
    for text in (ids, other, np.array([EOS, EOS, 3, EOS])):
        np.testing.assert_allclose(kn.word_log_probs(model, text), twin.log_probs(text), rtol=0, atol=1e-12)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_every_context_sums_to_one(kn, order):
    """Enumeration: the sum over all V words after each of the contexts there are, seen and unseen, and after <s>."""
    vocab_size = 6
    model = kn.train(zipf_text(vocab_size - 1, 60, seed=3), vocab_size, order)
    words = [word for word in range(vocab_size) if word != EOS]
    unseen = 0
    for length in range(order):
        contexts = [*product(words, repeat=length)]
        texts = [[*context, word, EOS] for context in contexts for word in range(vocab_size)]
        texts = [text[:-1] if text[-2] == EOS else text for text in texts]
        ends = np.cumsum([0, *map(len, texts)])[:-1] + length
        probs, found = kn.word_probs(model, np.concatenate(texts).astype(np.int32))
        sums = probs[ends].reshape(-1, vocab_size).sum(axis=1)
        np.testing.assert_allclose(sums, np.ones(len(contexts)), rtol=0, atol=1e-12)
        unseen += (found[ends].reshape(-1, vocab_size).max(axis=1) <= length).sum()
    assert order < 3 or unseen


def test_by_hand(kn):
    """Two sentences, worked out on paper in docs/learn/kneser_ney.md."""
    a, b, c = 2, 3, 4
    model = kn.train(np.array([a, b, EOS, a, c, EOS]), 5, order=2)
    probs, found = kn.word_probs(model, np.array([a, b, EOS, a, a, EOS, UNK]))
    np.testing.assert_allclose(probs, [0.6, 0.35, 0.65, 0.6, 0.1, 0.15, 0.05], rtol=1e-15)
    assert found.tolist() == [2, 2, 2, 2, 1, 1, 1]


@pytest.mark.parametrize(
    "n, expected",
    [
        ((10, 5, 3, 2), (0.5, 1.1, 5 / 3)),  # Y = 1/2
        ((10, 5, 3, 0), (0.5, 1.0, 1.5)),  # the fallback: a zero
        ((0, 5, 3, 2), (0.5, 1.0, 1.5)),
        ((1, 1, 9, 9), (0.5, 1.0, 1.5)),  # Y = 1/3, D(2) = -7
    ],
)
def test_discounts(kn, n, expected):
    """[K4] by hand, with counts above 4 and of zero among them."""
    counts = np.repeat([1, 2, 3, 4, 5, 0, 99], [*n, 7, 4, 1])
    np.testing.assert_allclose(kn.discounts_of(counts), (0, *expected), rtol=1e-15)


def test_an_order_beyond_the_longest_sentence(kn):
    """Twin: orders 4 and 5 of a text whose sentences have at most two words have no n-grams at all."""
    ids, longer = np.array([2, EOS, 3, 3]), np.array([3, 3, 2, 2, 3, 3, EOS])
    twin, model = Twin(ids, 4, 5), kn.train(ids, 4, 5)
    np.testing.assert_allclose(kn.word_log_probs(model, longer), twin.log_probs(longer), rtol=0, atol=1e-14)


def test_the_entropy_of_a_markov_chain(kn):
    """Floor: the bigram model of a Markov chain's text comes within 1 % of the chain's own perplexity, 6.47."""
    corpus = builtin.load("markov")
    tables = kn.count(corpus.train, len(corpus.vocabulary), 2)
    found = [kn.perplexity(kn.word_log_probs(kn.estimate(tables, order), corpus.test)) for order in (1, 2)]
    assert corpus.floor.perplexity < found[1] < 1.01 * corpus.floor.perplexity
    assert found[0] == pytest.approx(corpus.baselines["unigram"], rel=1e-3)


def test_bad_texts_are_refused(kn):
    """Messages: no order, no words, an id outside the vocabulary."""
    for ids, order, message in [([2], 0, "order = 0"), ([], 2, "no words"), ([9], 2, "token id 9 is outside")]:
        with pytest.raises(InputError, match=message):
            kn.train(np.array(ids, np.int32), 5, order)


def run(*arguments):
    command = [sys.executable, str(FOLDER / "kneser_ney.py"), *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(FOLDER.parent), *sys.path])}
    return subprocess.run(command, cwd=FOLDER.parent, env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Flags for three texts of words w2 ... w10 in a folder, and their ids by conftest's vocabulary of 11 words."""
    folder, texts = tmp_path_factory.mktemp("texts"), {}
    for seed, name in enumerate(("train", "valid", "test")):
        ids = zipf_text(11, 400 - 100 * seed, seed)
        ids[-1] = EOS
        texts[name] = ids
        words = [["<unk>", "\n", *(f"w{k}" for k in range(2, 11))][word] for word in ids]
        (folder / f"{name}.txt").write_text(" ".join(words), encoding="utf-8")
    (folder / "words.txt").write_text("\n".join(f"w{k}" for k in range(2, 11)), encoding="utf-8")
    return folder, [part for name in texts for part in (f"--{name}", folder / f"{name}.txt")]


def test_characters_in_bits_per_byte(kn, tmp_path):
    """By hand: -log2 of every probability over the bytes of the file, line ends counted; the command's --unit."""
    text = tmp_path / "a.txt"
    text.write_text("天天 ab\nb天a\n" * 9, encoding="utf-8")
    done = run("--train", text, "--test", text, "--unit", "char", "--order", 2, "--json", tmp_path / "kn.json")
    assert done.returncode == 0, done.stderr
    row = json.loads((tmp_path / "kn.json").read_text(encoding="utf-8"))["rows"][-1]
    assert (row["unit"], row["vocab_size"], row["test_tokens"]) == ("char", 6, 90)
    bits = 90 * math.log2(row["test_perplexity"])
    assert row["test_bits_per_byte"] == pytest.approx(bits / text.stat().st_size, rel=1e-12)
    assert row["test_bits_per_character"] == pytest.approx(bits / 90, rel=1e-12)


def test_the_command(kn, files, tmp_path):
    """The functions: rows printed and written; SRILM's words, probabilities and totals add up to the perplexity."""
    folder, texts = files
    done = run(*texts, "--order", 3, "--json", tmp_path / "kn.json", "--debug2", tmp_path / "test.ppl")
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "kn.json").read_text(encoding="utf-8"))["rows"]
    corpus = kn.load_corpus(*(folder / f"{name}.txt" for name in ("train", "valid", "test")))
    assert [row["order"] for row in rows] == [1, 2, 3]
    for row in rows:
        model = kn.train(corpus.train, len(corpus.vocabulary), row["order"])
        for name, ids in (("valid", corpus.valid), ("test", corpus.test)):
            loss = -kn.word_log_probs(model, ids).mean()
            assert row[f"{name}_perplexity"] == pytest.approx(math.exp(loss), rel=1e-12)
            assert (row[f"{name}_tokens"], row[f"{name}_oovs"]) == (len(ids), (ids == UNK).sum())
        assert f"{row['test_perplexity']:.2f}" in done.stdout
    check_debug2(kn, (tmp_path / "test.ppl").read_text(encoding="utf-8"), model, corpus)


def check_debug2(kn, text, model, corpus):
    """Every word's line is SRILM's, and so are the totals."""
    number = r"(-?\d[\d.e+-]*)"
    line = re.compile(rf"\tp\( (\S+) \| (<s> |\S+ \.\.\.)\) \t= \[(\d)gram\] {number} \[ {number} \]")
    found = [line.fullmatch(row) for row in text.splitlines() if row.startswith("\t")]
    assert [match[1] for match in found] == corpus.vocabulary.decode(corpus.test)
    starts = [match[2] == "<s> " for match in found]
    assert starts == [True, *(corpus.test[:-1] == EOS)]
    before = [match[2].removesuffix(" ...") for match in found if match[2] != "<s> "]
    assert before == [m[1] for m, start in zip(found, starts[1:], strict=False) if not start]
    log10_probs = kn.word_log_probs(model, corpus.test) / math.log(10)
    np.testing.assert_allclose([float(match[5]) for match in found], log10_probs, rtol=1e-8)
    np.testing.assert_allclose([float(match[4]) for match in found], 10**log10_probs, rtol=1e-8)
    ends = int((corpus.test == EOS).sum())
    assert f"file test: {ends} sentences, {len(found) - ends} words, 0 OOVs" in text
    total = re.fullmatch(rf"0 zeroprobs, logprob= {number} ppl= {number} ppl1= {number}", text.splitlines()[-1])
    expected = log10_probs.sum()
    powers = [expected, 10 ** (-expected / len(found)), 10 ** (-expected / (len(found) - ends))]
    np.testing.assert_allclose([float(part) for part in total.groups()], powers, rtol=1e-8)


def test_mixed_with_a_neural_model(kn, files, tmp_path):
    """The definition: weight p + (1 - weight) q, with the weight that is best for the valid text."""
    folder, texts = files
    corpus = kn.load_corpus(*(folder / f"{name}.txt" for name in ("train", "valid", "test")))
    random = make_model(vocab=len(corpus.vocabulary), dtype=np.float32, scale=0.3)
    neural = type(random)(random.config, corpus.vocabulary, random.params)
    seen = np.bincount(corpus.valid, minlength=len(corpus.vocabulary)) + 1
    neural.params["decoder.bias"][:] = np.log(seen)  # so that it knows something the other does not
    neural.params["decoder.weight"] *= 0.1
    checkpoint.save_model(neural, tmp_path / "model.safetensors", {})
    done = run(*texts, "--order", 2, "--mix", tmp_path / "model.safetensors", "--json", tmp_path / "kn.json")
    assert done.returncode == 0, done.stderr
    row = json.loads((tmp_path / "kn.json").read_text(encoding="utf-8"))["rows"][-1]
    model = kn.train(corpus.train, len(corpus.vocabulary), 2)
    grid = np.linspace(0, 1, 1001)[1:-1]
    for name, ids in (("valid", corpus.valid), ("test", corpus.test)):
        scores, log_z = word_scores(neural, ids)
        p, q = np.exp(scores - log_z), kn.word_probs(model, ids)[0]
        mixed = [math.exp(-np.log(weight * p + (1 - weight) * q).mean()) for weight in (*grid, row["neural_weight"])]
        assert row[f"neural_{name}_perplexity"] == pytest.approx(math.exp(-np.log(p).mean()), rel=1e-6)
        assert row[f"mixed_{name}_perplexity"] == pytest.approx(mixed[-1], rel=1e-6)
        if name == "valid":
            assert abs(grid[np.argmin(mixed[:-1])] - row["neural_weight"]) < 0.002
    assert 0.01 < row["neural_weight"] < 0.99  # so that both count


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--corpus", "markov", "--min-count", 2], "of its own"),
        (["--train", "nowhere.txt"], "nowhere.txt: no such file"),
    ],
)
def test_mistakes_are_one_line(arguments, message):
    """Exit code 2, and one line that names the remedy."""
    done = run(*arguments)
    assert done.returncode == 2 and message in done.stderr and done.stderr.count("\n") == 1
