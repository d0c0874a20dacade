"""Round trips of every unit on fuzzed lines: join(split(x)) is the normalised x, and what stands between them is safe.

The suite runs a few thousand lines of each unit (test_units.py); a million are run, and recorded, by

    python -m tests.fuzz_units --lines 1000000 --json benchmarks/results/fuzz_units.json

Lines are drawn from parts that broke tokenizers before: marks, escapes of ours, white space of every kind, lone
surrogates, combining marks, emoji joined by U+200D, noncharacters, byte-order marks, real text, random code points.
"""

import argparse
import io
import json
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from nplm.data.size import TextSize, measure_line
from nplm.data.units import WORDS, Unit, open_unit
from nplm.data.vocabulary import Vocabulary

PARTS = (
    *("<s>", "</s>", "<unk>", "\u2581", "\\", "\\u{41}", "\\\u2581", "\\<s>", "<0x41>", "##", "@@", "\u0120", "[UNK]"),
    *(" ", "  ", "\t", "\v", "\f", "\r", "\x1c", "\x85", "\xa0", "\u2028", "\u3000", "\u200b", "\ufeff", "\x00"),
    *("\x1b[1m", "\ud800", "\udfff", "e\u0301", "\U0001f469\u200d\U0001f467", "\U0001f1e9\U0001f1ea", "\uac00\u11a8"),
    *("the ", "cat ", "sat on", " mat.", "\u4eca\u5929", "\u5929\u6c14", "\u5f88\u597d\u3002", "Apache", "100"),
    *("\ufffe", "\U0010ffff"),
)
MARKS = ("<s>", "</s>", "<unk>")
TRAINING = [
    f"the cat sat on the mat {k}. \u4eca\u5929\u5929\u6c14\u5f88\u597d\u3002 Apache {k * k}" for k in range(200)
]


def lines(rng: np.random.Generator, number: int) -> Iterator[str]:
    """Lines of up to 12 parts; a fifth of the parts are random code points."""
    for _ in range(number):
        picks = rng.integers(0, len(PARTS) * 5 // 4, rng.integers(0, 13)).tolist()
        yield "".join(PARTS[k] if k < len(PARTS) else chr(int(rng.integers(1, 0x110000))) for k in picks)


def faults(unit: Unit, line: str) -> list[str]:
    """What is wrong with the unit's way of a line there and back."""
    units = unit.split(line)
    text, found = unit.join(units), []
    if text != unit.normalise(line):
        found.append(f"{unit.name}: {line!r} came back as {text!r}, not {unit.normalise(line)!r}")
    if unit.kind in ("char", "grapheme") and text != line:
        found.append(f"{unit.name}: {line!r} came back as {text!r}")
    if unit.kind == "char" and len(units) != len(line):
        found.append(f"char: {len(units)} units of {len(line)} code points: {line!r}")
    if unit.kind == "word":  # whose marks are marks, and whose text comes from files of UTF-8
        units = [word for word in units if word not in MARKS and not re.search("[\ud800-\udfff]", word)]
    try:
        kept = Vocabulary(["<unk>", "</s>", *dict.fromkeys(units)], [1] * (2 + len(set(units))))
        if Vocabulary.from_bytes(kept.to_bytes()) != kept or kept.decode(kept.encode(units)) != units:
            found.append(f"{unit.name}: the vocabulary of {line!r} came back changed")
    except ValueError as error:
        found.append(f"{unit.name}: {line!r}: {error}")
    return found


def make_units(folder: Path) -> Iterator[Unit]:
    """Every unit that can be made here: tokenizers are trained on TRAINING, in the usual kinds."""
    yield from (WORDS, open_unit("char"), open_unit("grapheme"))
    import sentencepiece

    for kind, more in {
        "unigram": {}, "bpe": {"model_type": "bpe", "byte_fallback": True},
        "plain": {"normalization_rule_name": "identity", "remove_extra_whitespaces": False, "add_dummy_prefix": False},
        "suffix": {"treat_whitespace_as_suffix": True},
    }.items():  # fmt: skip
        made = io.BytesIO()
        size = 400 if kind == "bpe" else 120
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(TRAINING), model_writer=made, vocab_size=size, minloglevel=2, hard_vocab_limit=False,
            **more,
        )  # fmt: skip
        (folder / f"{kind}.model").write_bytes(made.getvalue())
        yield open_unit(f"spm:{folder / kind}.model")
    for kind, tokenizer in _tokenizers().items():
        tokenizer.save(str(folder / f"{kind}.json"))
        yield open_unit(f"hf:{folder / kind}.json")


def _tokenizers() -> dict[str, object]:
    """Tokenizers of the four usual kinds, by name."""
    import tokenizers
    from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

    common = {"special_tokens": ["<s>", "</s>", "[UNK]"], "show_progress": False}
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bert = pre_tokenizers.BertPreTokenizer()
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    space = pre_tokenizers.Metaspace(), decoders.Metaspace()
    made = {}
    for kind, model, trainer, before, after in (
        ("bytes", models.BPE(), trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, **common),
         byte_level, decoders.ByteLevel()),
        ("meta", models.BPE(unk_token="[UNK]"), trainers.BpeTrainer(vocab_size=200, **common), *space),
        ("unigram", models.Unigram(), trainers.UnigramTrainer(vocab_size=120, unk_token="[UNK]", **common), *space),
        ("wordpiece", models.WordPiece(unk_token="[UNK]"), trainers.WordPieceTrainer(vocab_size=200, **common),
         bert, decoders.WordPiece()),
    ):  # fmt: skip
        made[kind] = tokenizers.Tokenizer(model)
        made[kind].pre_tokenizer, made[kind].decoder = before, after
        made[kind].train_from_iterator(TRAINING, trainer)
    made["wordpiece"].normalizer = normalizers.BertNormalizer()
    made["bytes"].enable_truncation(3)  # a file of somebody's, as it was used there
    made["bytes"].enable_padding(length=8, pad_token="</s>", pad_id=1)
    return made


def main() -> None:
    import tempfile

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lines", type=int, default=1_000_000, help="for every unit")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="where the figures go")
    arguments = parser.parse_args()
    rows, failed = [], 0
    with tempfile.TemporaryDirectory() as folder:
        for unit in make_units(Path(folder)):
            begun, wrong = time.perf_counter(), 0
            size = TextSize()
            for line in lines(np.random.default_rng(arguments.seed), arguments.lines):
                size = size.plus(measure_line(line))
                for fault in faults(unit, line):
                    wrong += 1
                    if wrong <= 10:
                        print(fault, file=sys.stderr)
            rows.append({
                "unit": unit.name, "identity": unit.identity, "lines": arguments.lines, "seed": arguments.seed,
                "bytes": size.bytes, "characters": size.characters, "faults": wrong,
                "seconds": round(time.perf_counter() - begun, 1),
            })  # fmt: skip
            print(json.dumps(rows[-1]), flush=True)
            failed += wrong
    if arguments.json:
        sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
        import _record

        _record.write(arguments.json, rows)
    sys.exit(int(failed > 0))


if __name__ == "__main__":
    main()
