"""Readers of texts and of other programs' lists: n-best lists, SRILM's output, word lists, vocabularies to import.

The oracle is a reading of the bytes by regular expressions, written for this purpose, after the formats' own
descriptions: fields between ASCII white space, numbers as C's strtod has them.
"""

import gzip
import math
import re
from pathlib import Path
from random import Random
from typing import Any

from hostile import mutate
from hostile.reader import Reader, same

from nplm.data.choose import read_words
from nplm.data.text import MAX_LINE, open_text
from nplm.data.units import WORDS, open_unit
from nplm.export import read_tokens
from nplm.toolkits.mix import read_scores
from nplm.toolkits.nbest import read_kaldi, read_srilm

LN10 = math.log(10)
FIELDS = re.compile(rb"[^ \t\n\v\f\r]+")
WORD_LIST = ("the", "cat", "sat", "on", "mat", "été", "дом", "今天", "a-1", "<unk>", "-pau-", "1")


def lines_of(data: bytes) -> list[str]:
    """The lines of a text without a byte order mark; UnicodeDecodeError where they are not UTF-8."""
    text = data.decode("utf-8").removeprefix("\ufeff")
    return text.removesuffix("\n").split("\n") if text else []


def fields_of(line: str) -> list[str]:
    return [field.decode() for field in FIELDS.findall(line.encode())]


def stripped(words: list[str]) -> list[str]:
    """Words without one <s> before and one </s> after; AssertionError where another was taken for a word."""
    words = words[1:] if words[:1] == ["<s>"] else words
    words = words[:-1] if words[-1:] == ["</s>"] else words
    assert "<s>" not in words and "</s>" not in words, "a mark inside a sentence was read as a word"
    return words


def sentence(rng: Random, longest: int = 5) -> str:
    return " ".join(rng.choice(WORD_LIST) for _ in range(rng.randrange(longest)))


class Lists(Reader):
    """SRILM's n-best lists."""

    name = "n-best list (SRILM)"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.path = folder / "a.nbest"

    def trial(self, rng: Random) -> None:
        acoustic, old = ("-1.5", "0", "-2e1", "3."), ("-7", "-inf", "-0.25")
        lines = (
            f"{rng.choice(acoustic)} {rng.choice(old)} {rng.randrange(4)} {sentence(rng)}\n"
            for _ in range(rng.randrange(1, 4))
        )
        data = mutate.of_text(rng, "".join(lines))
        self.path.write_bytes(data)
        got = read_srilm(self.path)
        expected = []
        for fields in filter(None, map(fields_of, lines_of(data))):
            assert re.fullmatch(r"\d{1,9}", fields[2], re.ASCII), f"nwords {fields[2]!r}"
            expected.append((fields[0], stripped(fields[3:]), float(fields[0]), float(fields[1]), int(fields[2])))
            assert math.isfinite(expected[-1][2]) and expected[-1][3] == expected[-1][3], "a score that is no number"
            assert (fields[0] + fields[1]).isascii() and "_" not in fields[0] + fields[1], "no number of C's"
        assert same([tuple(hyp) for hyp in got.hypotheses], expected)


class KaldiLists(Reader):
    """Kaldi's n-best lists with their acoustic costs."""

    name = "n-best list (Kaldi)"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.path, self.costs = folder / "words_text", folder / "acwt"

    def trial(self, rng: Random) -> None:
        keys = [f"{name}-{k}" for name in ("utt", "utt-1", "b") for k in range(1, rng.randrange(1, 4))]
        texts = [f"{key} {sentence(rng)}" for key in keys] or ["utt-1 the"]
        costs = [f"{key} {rng.choice(('12.5', '-3', '1e2'))}" for key in keys] or ["utt-1 0"]
        which = rng.randrange(3)
        data, priced = ("\n".join(lines) + "\n" for lines in (texts, costs))
        raw = mutate.of_text(rng, data) if which != 1 else data.encode()
        raw_costs = mutate.of_text(rng, priced) if which != 0 else priced.encode()
        self.path.write_bytes(raw)
        self.costs.write_bytes(raw_costs)
        got = list(read_kaldi([self.path], self.costs))
        rows = list(filter(None, map(fields_of, lines_of(raw))))
        prices = list(filter(None, map(fields_of, lines_of(raw_costs))))
        assert [row[0] for row in rows] == [price[0] for price in prices], "costs of other hypotheses were taken"
        expected: list[tuple[str, list[Any]]] = []
        for row, price in zip(rows, prices, strict=True):
            utterance, rank = re.fullmatch(r"(.+)-(\d+)", row[0], re.ASCII | re.DOTALL).groups()  # type: ignore[union-attr]
            assert len(price) == 2 and rank and math.isfinite(float(price[1]))
            assert price[1].isascii() and "_" not in price[1], "no number of C's"
            if not expected or expected[-1][0] != utterance:
                expected.append((utterance, []))
            expected[-1][1].append((row[0], stripped(row[1:]), -float(price[1]) / LN10, 0.0, None))
        names = [name for name, _ in expected]
        assert len({row[0] for row in rows}) == len(rows) and len(set(names)) == len(names), "one hypothesis twice"
        assert same([(nbest.name, [tuple(hyp) for hyp in nbest.hypotheses]) for nbest in got], expected)


class Scores(Reader):
    """What SRILM's `ngram -ppl -debug 2` prints of two models, for `nplm mix`."""

    name = "SRILM's output"
    LINE = re.compile(r"\s\s*p\( ")

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.paths = [folder / "a.ppl", folder / "b.ppl"]

    def trial(self, rng: Random) -> None:
        words = [rng.choice(WORD_LIST) for _ in range(rng.randrange(1, 6))]
        texts = ["".join(self._line(rng, word) for word in [*words, "</s>"]) + "\n1 sentences, 3 words\n" for _ in "ab"]
        which = rng.randrange(2)
        raw = [mutate.of_text(rng, text) if k == which else text.encode() for k, text in enumerate(texts)]
        for path, data in zip(self.paths, raw, strict=True):
            path.write_bytes(data)
        scores, counts = read_scores(self.paths)
        expected = [[self._parse(line) for line in lines_of(data) if self.LINE.match(line)] for data in raw]
        assert len(expected[0]) == len(expected[1]) == len(counts), "words were left out"
        for a, b, row, count in zip(*expected, scores.tolist(), counts.tolist(), strict=True):
            assert a[0] == b[0] or "<unk>" in (a[0], b[0]), "two words were taken for one"
            assert a[2] == b[2] == count and 0 < count < math.inf
            assert row == [a[1], b[1]] and max(row) <= 1e-3

    @staticmethod
    def _line(rng: Random, word: str) -> str:
        log10 = rng.choice(("-1.5", "-inf", "-0.25", "-12"))
        kind = "[OOV]" if log10 == "-inf" else "[2gram]"
        return f"\tp( {word} | the ...) \t= {kind} 0.5 [ {log10} ]{rng.choice(('', ' / 0.99999'))}\n"

    @staticmethod
    def _parse(line: str) -> tuple[str, float, float]:
        """The word, its log10 probability, and how often it counts."""
        fields = fields_of(line)
        fields = fields[:-2] if fields[-2] == "/" else fields
        times = 1.0
        if len(fields) > 8 and fields[-2].startswith("*"):
            times = float(fields.pop(-2)[1:])
        assert fields[2] == "|" and (fields[-3], fields[-1]) == ("[", "]") and "=" in fields, f"read {line!r}"
        number = fields[-2]
        log10 = -math.inf if number.lower().startswith("-1.#inf") else float(number)
        assert log10 == log10 and number.isascii() and "_" not in number, f"{number} was taken for a number"
        return fields[1], log10, times


class Tokens(Reader):
    """The words of a foreign model, for `nplm import --vocab`."""

    name = "import vocabulary"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.path = folder / "words.txt"

    def trial(self, rng: Random) -> None:
        counted = rng.randrange(2)
        words = ["<unk>", "</s>", *rng.sample(WORD_LIST[:9], 4)]
        lines = [f"{word}\t{rng.randrange(1, 10 ** rng.randrange(1, 6))}" if counted else word for word in words]
        data = mutate.of_text(rng, "\n".join(lines) + rng.choice(("\n", "", "\r\n")), "\t")
        self.path.write_bytes(data)
        got = read_tokens(self.path)
        told = data.decode("utf-8-sig").rstrip("\r\n").split("\n")
        pairs = [line.removesuffix("\r").split("\t") for line in told]
        assert got.words == [pair[0] for pair in pairs], "other words"
        assert len(set(got.words)) == len(got.words) and all(fields_of(word) == [word] for word in got.words)
        assert all(len(pair) <= 2 for pair in pairs) and len({len(pair) for pair in pairs}) == 1
        if got.counts is None:
            assert len(pairs[0]) == 1, "counts were ignored"
        else:
            assert got.counts == [int(pair[1]) for pair in pairs]
            assert not (len(pairs) > 2 and got.counts in (list(range(len(pairs))), list(range(1, len(pairs) + 1))))


class Text(Reader):
    """A text, plain or zipped, in words or in characters."""

    name = "text"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.path, self.zipped = folder / "text.txt", folder / "text.txt.gz"
        self.characters = open_unit("char")

    def trial(self, rng: Random) -> None:
        data: bytes | None = mutate.of_text(rng, "\n".join(sentence(rng, 8) for _ in range(rng.randrange(1, 5))) + "\n")
        path = self.path
        if rng.randrange(4) == 0:
            path, packed = self.zipped, gzip.compress(data, 1)
            damaged = rng.randrange(2)
            path.write_bytes(mutate.of_bytes(rng, packed) if damaged else packed)
            if damaged:  # what comes out is what went in, if anything does
                data = gzip.decompress(path.read_bytes()) if self._unpacks(path) else None
        else:
            path.write_bytes(data)
        unit = rng.choice((WORDS, self.characters))
        got = list(open_text(path, unit))
        assert data is not None, "a damaged file was read as a whole one"
        assert b"\0" not in data and all(len(line) <= MAX_LINE for line in data.split(b"\n"))
        expected = []
        for line in self._lines(data):
            if unit is WORDS:
                words = [word for word in re.split("[ \t\n\v\f\r\u3000]+", line) if word]
                expected.append(stripped(words))
            else:
                expected.append(None if "s>" in line else [*line])  # marks are not characters
        assert len(got) == len(expected)
        for one, other in zip(got, expected, strict=True):
            assert other is None or (
                one == other if unit is WORDS else "".join(one) == unit.join(unit.split("".join(one)))
            )
            if other is not None and unit is not WORDS:
                assert unit.join(one) == "".join(other)

    @staticmethod
    def _lines(data: bytes) -> list[str]:
        *ended, rest = data.decode().split("\n")
        found = [line.removesuffix("\r") for line in ([*ended, rest] if rest else ended)]
        return [found[0].removeprefix("\ufeff"), *found[1:]] if found else []

    @staticmethod
    def _unpacks(path: Path) -> bool:
        try:
            gzip.decompress(path.read_bytes())
        except Exception:
            return False
        return True


class WordList(Reader):
    """The words to keep, `nplm train --vocab`."""

    name = "word list"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.path = folder / "words.txt"

    def trial(self, rng: Random) -> None:
        data = mutate.of_text(rng, "\n".join(rng.sample(WORD_LIST, 5)) + "\n")
        self.path.write_bytes(data)
        got = read_words(self.path)
        fields = [re.findall("[^ \t\n\v\f\r\u3000]+", line) for line in lines_of(data)]
        assert got == [field for line in fields for field in stripped(line)]
