"""What do characters, sentencepiece's pieces and words make of raw Chinese text, in figures that compare?

Trains one recipe, benchmarks/recipes/zh-small.toml, once for each unit, on the folder zh in NPLM_DATA with its texts
train.txt, valid.txt and test.txt; sentencepiece's models are trained here, on the training text alone.
Beside them stand n-grams over the
same characters.  A run that was stopped goes on; one that is done is not trained again.

    python benchmarks/study_units.py                          # all, one after the other
    python benchmarks/study_units.py char --threads 1
"""

import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import _record
import _training
import kneser_ney
from _tables import Section

from nplm import atomic
from nplm.data.corpus import load_corpus
from nplm.data.units import open_unit
from nplm.scoring.evaluate import evaluate
from nplm.storage.checkpoint import load_model

RECIPE = "zh-small"
UNITS = ("kneser-ney", "char", "char-b10", "char-long", "spm-2000", "spm-4000", "word")
CHANGED = {
    "char-b10": ("char", ["--batch-size", "10"]),  # twice the updates per epoch
    "char-long": ("char", [
        "--batch-size", "10", "--epochs", "14", "--lr", "10", "--dropout", "0.2", "--nce", "1000",
        "--precision", "auto",
    ]),
}  # fmt: skip
ORDER = 5
TABLE = Section(
    "Units: raw Chinese text",
    "One recipe with 2 x 200 units for each unit; the 5-gram model is interpolated modified Kneser-Ney over the same"
    " characters. Bits are per byte and per character of the raw text, line ends included, and can be compared across"
    " rows, unlike perplexities per unit; unknown units are spelled out at 8 bits per byte.",
    "study_units.json",
    {
        "unit": "unit", "V": "vocab_size:,", "test tokens": "tokens:,", "validation, per unit": "valid_perplexity:.2f",
        "test, per unit": "test_perplexity:.2f", "bits/byte, validation": "valid_bits_per_byte:.4f",
        "bits/byte, test": "test_bits_per_byte:.4f", "bits/char., test": "test_bits_per_character:.4f",
        "of these for spelling": "test_spelling_bits:.4f", "`<unk>`": "oovs:,", "epochs": "epochs",
        "training, s": "seconds:,.0f",
    },
    command="python benchmarks/study_units.py",
    trained=True,
)  # fmt: skip
SECTIONS = {"units": TABLE}


def texts() -> dict[str, str]:
    """The paths of the three texts."""
    folder = Path(os.environ.get("NPLM_DATA", _record.ROOT.parent / "shared" / "data")) / "zh"
    return {name: str(folder / f"{name}.txt") for name in ("train", "valid", "test")}


def spec_of(unit: str, runs: Path) -> str:
    """What `--unit` is given; a sentencepiece model is trained where it is not there yet."""
    if not unit.startswith("spm-"):
        return unit
    path = runs / f"zh-{unit}.model"
    if not path.exists():
        import sentencepiece

        made = io.BytesIO()
        with Path(texts()["train"]).open(encoding="utf-8") as lines:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=lines, model_writer=made, vocab_size=int(unit.removeprefix("spm-")),
                character_coverage=1.0 if unit == "spm-4000" else 0.995, normalization_rule_name="identity",
                remove_extra_whitespaces=False, num_threads=1, minloglevel=1,
            )  # fmt: skip
        runs.mkdir(parents=True, exist_ok=True)
        atomic.write(path, [made.getvalue()])
    return f"spm:{path}"


def train(unit: str, runs: Path, flags: list[str]) -> dict[str, Any]:
    """A row: the recipe with this unit, trained, and evaluated on both texts with their sizes."""
    files = [part for name, path in texts().items() for part in (f"--{name}", path)]
    base, changes = CHANGED.get(unit, (unit, []))
    folder, spec = runs / f"{RECIPE}-{unit}", spec_of(base, runs)
    flags = [*flags, *changes]
    result = _training.train(folder, RECIPE, [*files, "--unit", spec, *flags])
    model = load_model(folder)
    corpus = load_corpus(**texts(), unit=open_unit(spec))
    row: dict[str, Any] = {"recipe": RECIPE, "objective": "nce", "unit": unit, "vocab_size": len(model.vocabulary)}
    row |= {"parameters": sum(value.size for value in model.params.values()), "epochs": result["epochs"]}
    row |= {name: result[name] for name in _training.KEPT}
    for name in ("valid", "test"):
        got = evaluate(model, getattr(corpus, name), size=corpus.sizes[name], batch_size=1)
        row |= {f"{name}_{key}": value for key, value in got.as_dict().items() if "per_" in key or key == "oovs"}
        row[f"{name}_perplexity"] = got.perplexity
        row[f"{name}_spelling_bits"] = (got.unknown_bits or 0.0) / (got.characters or 1)
    return row | {"oovs": row["test_oovs"]}


def count_ngrams() -> dict[str, Any]:
    """A row: the n-grams of the highest order over characters."""
    corpus = load_corpus(**texts(), unit=open_unit("char"))
    rows, _ = kneser_ney.measure(corpus, ORDER)
    found = rows[-1]
    row = {"recipe": f"{ORDER}-gram", "objective": "counts", "unit": f"char, {ORDER}-gram", "seed": None}
    row |= {"vocab_size": found["vocab_size"], "tokens": found["test_tokens"], "oovs": found["test_oovs"]}
    row |= {"seconds": found["train_seconds"]}
    for name in ("valid", "test"):
        keys = ("perplexity", "bits_per_byte", "bits_per_character", "spelling_bits")
        row |= {f"{name}_{key}": found[f"{name}_{key}"] for key in keys}
    return row


def main() -> None:
    parser = _record.parser(__doc__, "one epoch only", "study_units")
    parser.add_argument("units", nargs="*", metavar="UNIT", help=f"of {', '.join(UNITS)}; default: all")
    parser.add_argument("--runs", type=Path, default=_record.ROOT / "runs", help="where the runs are kept")
    parser.add_argument("--threads", type=int, default=0)
    arguments = parser.parse_args()
    if odd := set(arguments.units) - {*UNITS}:
        sys.exit(f"no unit is called {min(odd)}; there are {', '.join(UNITS)}")
    flags = ["--threads", str(arguments.threads), *(["--epochs", "1"] if arguments.quick else [])]
    for unit in arguments.units or UNITS:
        row = count_ngrams() if unit == "kneser-ney" else train(unit, arguments.runs, flags)
        row |= {"commit": _record.commit(), "threads": None if unit == "kneser-ney" else arguments.threads}
        print(json.dumps(row), flush=True)
        if path := _record.path_of(arguments, "study_units"):
            _record.merge(path, [row], lambda row: [*UNITS, f"char, {ORDER}-gram"].index(row["unit"]) % len(UNITS))


if __name__ == "__main__":
    main()
