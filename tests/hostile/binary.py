"""Readers of safetensors files: models of all versions, and the state of a run.

Half of the files are damaged as a disk or a network would: the checksum must tell, or nothing of value has changed.
The other half are crafted: any metadata, any tensors, and a right checksum, which this file computes on its own.
"""

import hashlib
import json
import math
import shutil
import struct
from contextlib import suppress
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from conftest import make_model
from hostile import mutate
from hostile.reader import Reader, assert_same_array, same

import nplm
from nplm.config import ModelConfig
from nplm.data.units import describe, open_unit
from nplm.errors import DivergedError, InputError
from nplm.storage import checkpoint
from nplm.training.progress import Progress
from nplm.training.run_folder import RunFolder
from nplm.training.trainer import Trainer

NAMES = {"F2": "F16", "F4": "F32", "F8": "F64", "I4": "I32", "I8": "I64", "U1": "U8", "I1": "I8", "B1": "BOOL"}
FLOATS = (np.dtype("<f4"), np.dtype("<f8"))
HEADER_ODDITIES = 6  # ways in which a header can be wrong by itself


def digest(tensors: dict[str, Any], metadata: dict[str, str]) -> str:
    """The checksum as checkpoint.py describes it, over metadata and tensors."""
    sha = hashlib.sha256()
    for key in sorted(metadata.keys() - {"sha256"}):
        sha.update(f"{key}={metadata[key]}\n".encode())
    for name, value in sorted(tensors.items()):
        sha.update(f"{name} {value.dtype} {value.shape}\n".encode() + value.tobytes())
    return sha.hexdigest()


def pack(tensors: dict[str, Any], metadata: dict[str, str]) -> bytes:
    """A safetensors file with the right checksum."""
    header: dict[str, Any] = {"__metadata__": metadata | {"sha256": digest(tensors, metadata)}}
    data = b""
    for name, value in tensors.items():
        kind = f"{value.dtype.kind.upper()}{value.dtype.itemsize}"
        places = [len(data), len(data) + value.nbytes]
        header[name] = {"dtype": NAMES[kind], "shape": list(value.shape), "data_offsets": places}
        data += value.tobytes()
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def unpack(data: bytes) -> tuple[dict[str, Any], dict[str, str]]:
    """Tensors and metadata of a whole file, read without nplm."""
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + size])
    metadata = header.pop("__metadata__")
    types = {f"{k[0]}{8 * int(k[1])}": f"<{k.lower()}" for k in ("F4", "F8", "I8", "U1")}
    found = {}
    for name, entry in header.items():
        first, last = (8 + size + place for place in entry["data_offsets"])
        found[name] = np.frombuffer(data[first:last], types[entry["dtype"]]).reshape(entry["shape"])
    return found, metadata


def odd_header(rng: Random, data: bytes) -> bytes:
    """A file whose header lies: of a tensor's type, shape or place, or with the same name twice."""
    size = struct.unpack("<Q", data[:8])[0]
    header, rest = json.loads(data[8 : 8 + size]), data[8 + size :]
    text = mutate.of_json_text(rng, header)
    if rng.randrange(HEADER_ODDITIES) == 0:
        name = rng.choice(sorted(header.keys() - {"__metadata__"}))
        text = json.dumps(header)[:-1] + f', "{name}": {json.dumps(header[name])}}}'
    raw = text.encode("utf-8", "replace")
    length = len(raw) + (rng.randrange(-2, 3) if rng.randrange(8) == 0 else 0)
    return struct.pack("<Q", max(0, length)) + raw + rest


def good_models() -> list[tuple[bytes, str]]:
    """Files of models of both versions and types, with and without a mean log Z, and their kinds."""
    made = []
    for kind in ("word", "tied", "float64", "char"):
        model = make_model(
            np.float64 if kind == "float64" else np.float32, scale=0.3, tied=kind == "tied",
            **({"embed": 6} if kind == "tied" else {}),
        )  # fmt: skip
        unit = open_unit("char" if kind == "char" else "word")
        log_z = 0.25 if kind == "word" else None
        model = nplm.LanguageModel(model.config, model.vocabulary, model.params, log_z, unit)
        tensors, metadata = checkpoint._pack(model, {"epoch": 3, "valid": {"mean_log_z": -0.5}, "corpus": "toy"})
        metadata = {"version": "1", "format": "nplm"} | metadata
        made.append((pack({name: np.ascontiguousarray(value) for name, value in tensors.items()}, metadata), kind))
    return made


class Models(Reader):
    """nplm.load, and what `nplm info` reads of the header alone."""

    name = "model"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.good = [(data, *unpack(data)) for data, _ in good_models()]
        self.path = folder / "model.safetensors"

    def trial(self, rng: Random) -> None:
        whole, tensors, metadata = rng.choice(self.good)
        if rng.randrange(2):  # damaged: nothing of what is read may be another
            data = odd_header(rng, whole) if rng.randrange(3) == 0 else mutate.of_bytes(rng, whole)
        else:
            tensors, metadata = craft(rng, tensors, metadata)
            data = pack(tensors, metadata)
        self.path.write_bytes(data)
        provenance_is_right(self.path, metadata)
        model = nplm.load(self.path)
        assert_is_model(model, tensors, metadata)
        if rng.randrange(8) == 0:
            nplm.score_batch(model, [["w3", "w4"], [], ["nobody"]])


def provenance_is_right(path: Path, metadata: dict[str, str]) -> None:
    """The header alone is read without its checksum: any object, split into what nplm made and the rest, or refused."""
    try:
        made, rest = checkpoint.split_provenance(checkpoint.provenance(path))
    except InputError:
        return
    assert not made.keys() & rest.keys() and made.keys() <= checkpoint.MADE.keys()


def craft(rng: Random, tensors: dict[str, Any], metadata: dict[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Other metadata, other tensors or another vocabulary."""
    tensors, metadata = dict(tensors), dict(metadata)
    how = rng.randrange(4)
    if how == 0:
        tensors = mutate.of_tensors(rng, tensors)
    elif how == 1 and "vocabulary" in tensors:
        table = mutate.of_text(rng, tensors["vocabulary"].tobytes().decode(), "\t")
        tensors["vocabulary"] = np.frombuffer(table, np.uint8)
    else:
        key = rng.choice(sorted(metadata.keys() - {"sha256"}))
        odd = rng.randrange(6)
        if odd == 0:
            del metadata[key]
        elif odd == 1:
            metadata[key] = rng.choice(("", "0", "1", "2", "3", "1.0", "null", "NaN", "{}", "[]", "nplm", "unicode"))
        elif odd == 2:
            metadata[rng.choice(("mean_log_z", "unit", "white_space", "x"))] = mutate.of_json_text(rng, 0.5)
        elif metadata[key][:1] in "{[0123456789-":
            metadata[key] = mutate.of_json_text(rng, json.loads(metadata[key]))
        else:
            metadata[key] += "x"
    return tensors, metadata


def assert_is_model(model: Any, tensors: dict[str, Any], metadata: dict[str, str]) -> None:
    """Everything that the loaded model holds is what tensors and metadata say."""
    given = json.loads(metadata["config"])
    for field in fields(ModelConfig):
        expected = given.get(field.name, field.default)
        got = getattr(model.config, field.name)
        assert expected is not MISSING and same(got, expected), f"config.{field.name} = {got!r}, not {expected!r}"
    assert given.keys() <= asdict(model.config).keys(), "a setting was ignored"
    lines = tensors["vocabulary"].tobytes().decode("utf-8").removesuffix("\n").split("\n")
    pairs = [line.split("\t") for line in lines]
    assert list(model.vocabulary.tokens) == [pair[0] for pair in pairs], "other words"
    assert model.vocabulary.counts.tolist() == [int(pair[1]) for pair in pairs], "other counts"
    for name, value in model.params.items():
        expected = tensors[name.replace("rnn.bias_l", "rnn.bias_ih_l")]
        if name.startswith("rnn.bias_l"):
            second = tensors[name.replace("rnn.bias_l", "rnn.bias_hh_l")]
            assert second.shape == expected.shape, "a bias of another shape was taken"
            expected = expected + second if second.any() else expected
        assert_same_array(value, expected, name)
        assert value.dtype in FLOATS and np.isfinite(value).all(), f"{name} is not finite"
    assert_is_log_z(model.mean_log_z, metadata)
    about = describe(model.unit)
    if metadata["version"] == "1":
        assert about == {"kind": "word", "white_space": metadata.get("white_space", "unicode")}
    else:
        told = json.loads(metadata["unit"])
        assert all(told.get(key) in (value, None) for key, value in about.items()), f"unit {about}"


def assert_is_log_z(got: Any, metadata: dict[str, str]) -> None:
    """The number in mean_log_z, or where that is missing the one of the validation; None where it is not finite."""
    expected = json.loads(metadata.get("mean_log_z", "null"))
    if expected is None:
        valid = json.loads(metadata.get("provenance", "{}")).get("valid")
        expected = valid.get("mean_log_z") if isinstance(valid, dict) else None
        if isinstance(expected, bool) or not isinstance(expected, (int, float)):
            expected = None
    with suppress(TypeError, OverflowError):  # none, or an integer beyond any float
        if math.isfinite(expected):
            assert got == float(expected), f"mean_log_z {got}, not {expected}"
            return
    assert got is None, f"mean_log_z {got}"


RECIPES: dict[str, dict[str, Any]] = {
    "adam": {"optimizer": "adam", "lr": 0.01, "weight_decay": 0.1, "dropout": 0.2},
    "adagrad": {"optimizer": "adagrad", "lr": 0.1},
    "asgd": {"optimizer": "asgd", "averaging_patience": 1, "weight_decay": 0.01, "lr": 3.0},
}
SIZES: dict[str, Any] = {
    "bptt": 4, "batch_size": 5, "sequence_length": 10, "num_noise": 6, "clip": 0.5, "epochs": 2, "log_interval": 3,
    "schedule": "constant", "threads": 1,
}  # fmt: skip


def toy() -> nplm.Corpus:
    """203 random tokens to train on, which are 12 chunks and a tail, and 50 to validate on."""
    rng, vocabulary = np.random.default_rng(0), make_model().vocabulary
    return nplm.Corpus("toy", vocabulary, *(rng.integers(0, 11, n, np.int32) for n in (203, 50)))


class Runs(Reader):
    """last.safetensors, read in order to go on; and, where it is accepted, the next chunk trained on."""

    name = "run state"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.good = {}
        for recipe, settings in RECIPES.items():
            place, config = folder / recipe, nplm.TrainConfig(**SIZES | settings)
            shutil.rmtree(place, ignore_errors=True)
            nplm.train(make_model(np.float32, scale=0.3), toy(), config, save=place)
            whole = (place / "last.safetensors").read_bytes()
            self.good[recipe] = (config, whole, *unpack(whole), (place / "metrics.jsonl").read_bytes())

    def trial(self, rng: Random) -> None:
        recipe = rng.choice(sorted(self.good))
        config, whole, tensors, metadata, lines = self.good[recipe]
        how = rng.randrange(6)
        if how == 0:
            data = mutate.of_bytes(rng, whole)
        else:
            tensors, metadata = dict(tensors), dict(metadata)
            if how == 1:
                tensors, metadata = craft(rng, tensors, metadata)
            elif how in (2, 3):
                metadata["run"] = mutate.of_json_text(rng, json.loads(metadata["run"]))
            else:
                extra = {name: value for name, value in tensors.items() if name.startswith("run.")}
                tensors = {name: tensors[name] for name in tensors.keys() - extra.keys()} | mutate.of_tensors(
                    rng, extra
                )
            data = pack(tensors, metadata)
        place = self.folder / recipe
        (place / "last.safetensors").write_bytes(data)
        (place / "metrics.jsonl").write_bytes(lines)
        self.resume(rng, place, config, tensors, metadata)

    def resume(self, rng: Random, place: Path, config: Any, tensors: dict[str, Any], metadata: dict[str, str]) -> None:
        """Load the checkpoint into a fresh trainer; compare all that was put back, and go on from it."""
        trainer = trainer_of(config)
        before = {name: value.tobytes() for name, value in trainer.model.params.items()}
        run = RunFolder(place, json.loads(self.good[place.name][3]["provenance"]))
        try:
            trainer.attach(run)
        except InputError as error:
            beyond = "is not of these texts" in str(error)  # found when all is put back; training does not begin
            assert beyond or before == {name: value.tobytes() for name, value in trainer.model.params.items()}
            raise
        told = json.loads(metadata["run"])
        for field in fields(Progress):
            got, expected = getattr(trainer.progress, field.name), told.get(field.name, field.default)
            kept = field.name == "metrics_lines" and got <= expected
            assert kept or same(got, expected), f"{field.name} = {got!r}, not {expected!r}"
        for name, value in trainer.optimizer.memory.items():
            assert_same_array(value, tensors[f"run.{name}"], name)
        assert_same_array(trainer.state.h, tensors["run.h"], "h")
        assert_same_array(trainer.state.c, tensors["run.c"], "c")
        for name, value in trainer.model.params.items():
            expected = tensors[name.replace("rnn.bias_l", "rnn.bias_ih_l")]
            if name.startswith("rnn.bias_l"):
                expected = expected + tensors[name.replace("rnn.bias_l", "rnn.bias_hh_l")]
            np.testing.assert_array_equal(value, expected)
        if rng.randrange(4) == 0:
            go_on(trainer)


def trainer_of(config: Any) -> Trainer:
    """A trainer of a fresh model."""
    corpus, model = toy(), make_model(np.float32, scale=0.3)
    return Trainer(model, nplm.data.streams.Streams(corpus.train, config.batch_size), config, valid=corpus.valid)


def go_on(trainer: Trainer) -> None:
    """The next chunk and the end of the epoch, whatever numbers the checkpoint held: done, or found to diverge."""
    trainer.folder = None
    try:
        with np.errstate(all="ignore"):
            trainer.step(trainer.spans[trainer.progress.chunk])
            trainer.end_epoch()
    except DivergedError:
        pass
