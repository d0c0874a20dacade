"""The one-file format.  Oracles: the bits put in, PyTorch's strict loader, and files damaged on purpose."""

import errno
import json
import os
import signal
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from conftest import make_model
from numpy.testing import assert_array_equal
from safetensors.numpy import load_file, save_file

import nplm
from nplm.errors import InputError, NotFiniteError
from nplm.storage import checkpoint, tensorfile

ROOT = Path(__file__).parent.parent
TINY = {"vocab": 4, "embed": 2, "hidden": 3, "layers": 1}


def fails(path):
    """The one line that loading the file fails with; it names the file."""
    with pytest.raises(InputError) as caught:
        nplm.load(path)
    line = str(caught.value)
    assert str(path) in line and "\n" not in line
    return line


def saved(tmp_path, **shape):
    """A saved model's path."""
    path = tmp_path / "model.safetensors"
    nplm.save(make_model(np.float32, **shape), path)
    return path


def run_python(script, *arguments):
    """A script run by a Python of its own."""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)


# ---- what is written


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_round_trip(dtype, tmp_path):
    """Oracle: the model saved: every bit of every parameter, the signs of zeros too; configuration, vocabulary."""
    model = make_model(dtype, power=0.75, uniform=0.1)
    model.params["encoder.weight"][0, :3] = [-0.0, 0.0, np.finfo(dtype).smallest_subnormal]
    model.params["rnn.bias_l1"][:2] = [-0.0, np.finfo(dtype).max]
    nplm.save(model, tmp_path / "model.safetensors")
    again = nplm.load(tmp_path / "model.safetensors")
    assert again.config == model.config
    assert again.vocabulary == model.vocabulary
    assert again.dtype == dtype
    assert set(again.params) == set(model.params)
    for name, value in model.params.items():
        got = again.params[name]
        assert (got.dtype, got.shape, got.tobytes()) == (value.dtype, value.shape, value.tobytes()), name
        got += 1  # it can be trained on


def test_run_round_trip(tmp_path):
    """Oracle: what was put in: JSON values, infinity among them, and arrays; the model beside them."""
    model, path = make_model(), tmp_path / "last.safetensors"
    extra = {"h": np.arange(24.0).reshape(2, 3, 4), "squares.decoder.bias": np.ones(11)}
    values = {"lr": 0.1 + 0.2, "epoch": 3, "best_nats": float("inf"), "stopped": False}
    checkpoint.save_run(model, path, {"corpus": "toy"}, values, extra)
    again, got_values, got_extra = checkpoint.load_run(path)
    assert got_values == values
    assert set(got_extra) == set(extra)
    for name, value in extra.items():
        assert_array_equal(got_extra[name], value, strict=True)
    assert_array_equal(again.params["decoder.bias"], model.params["decoder.bias"])
    assert_array_equal(nplm.load(path).params["decoder.bias"], model.params["decoder.bias"])
    assert checkpoint.provenance(path) == {"corpus": "toy"}


def test_a_model_has_no_run(tmp_path):
    """Oracle: the message, which names the file to resume from."""
    with pytest.raises(InputError, match=r"resume from last\.safetensors"):
        checkpoint.load_run(saved(tmp_path))


def test_names_and_shapes_are_those_of_pytorch(tmp_path):
    """Oracle: the contract; the tensors as safetensors' own reader sees them."""
    model = make_model(np.float32)
    checkpoint.save_model(model, tmp_path / "model.safetensors", {"epoch": 3})
    tensors = load_file(tmp_path / "model.safetensors")
    shapes = {name: value.shape for name, value in tensors.items()}
    size = shapes.pop("vocabulary")[0]
    assert shapes == {
        "encoder.weight": (11, 4),
        "rnn.weight_ih_l0": (24, 4),
        "rnn.weight_hh_l0": (24, 6),
        "rnn.bias_ih_l0": (24,),
        "rnn.bias_hh_l0": (24,),
        "rnn.weight_ih_l1": (24, 6),
        "rnn.weight_hh_l1": (24, 6),
        "rnn.bias_ih_l1": (24,),
        "rnn.bias_hh_l1": (24,),
        "decoder.weight": (11, 6),
        "decoder.bias": (11,),
    }
    for layer in ("l0", "l1"):
        assert_array_equal(tensors[f"rnn.bias_ih_{layer}"], model.params[f"rnn.bias_{layer}"])
        assert not tensors[f"rnn.bias_hh_{layer}"].any()
    assert tensors["vocabulary"].tobytes() == model.vocabulary.to_bytes()
    assert size == len(model.vocabulary.to_bytes())
    _, metadata = tensorfile.read(tmp_path / "model.safetensors")
    assert set(metadata) == {"format", "version", "config", "provenance", "white_space", "sha256"}
    assert json.loads(metadata["config"])["hidden_dim"] == 6
    assert json.loads(metadata["provenance"]) == {"epoch": 3}


def test_pytorch_loads_it_strictly(tmp_path):
    """Oracle: PyTorch's load_state_dict(strict=True), and the log-probabilities of the network it then is."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install nplm-nce[torch]")
    model = make_model()
    nplm.save(model, tmp_path / "model.safetensors")
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors["vocabulary"]
    peer = torch.nn.Module()
    peer.encoder = torch.nn.Embedding(11, 4, dtype=torch.float64)
    peer.rnn = torch.nn.LSTM(4, 6, 2, dtype=torch.float64)
    peer.decoder = torch.nn.Linear(6, 11, dtype=torch.float64)
    peer.load_state_dict({name: torch.from_numpy(value) for name, value in tensors.items()}, strict=True)
    inputs = np.random.default_rng(3).integers(0, 11, (5, 3)).astype(np.int32)
    with torch.no_grad():
        hidden, _ = peer.rnn(peer.encoder(torch.from_numpy(inputs.astype(np.int64))))
        expected = torch.log_softmax(peer.decoder(hidden), -1).numpy()
    got, _ = model.log_probs(inputs, model.zero_state(3))
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12)


def test_a_second_bias_is_added(tmp_path):
    """Oracle: PyTorch's LSTM has the sum of both biases; a file that was trained there has two."""
    model = make_model(np.float32)
    tensors, metadata = checkpoint._pack(model, {})
    tensors["rnn.bias_hh_l0"] = np.arange(24, dtype=np.float32)
    tensorfile.write(tmp_path / "model.safetensors", tensors, metadata)
    got = nplm.load(tmp_path / "model.safetensors").params["rnn.bias_l0"]
    assert_array_equal(got, model.params["rnn.bias_l0"] + np.arange(24, dtype=np.float32))


def test_same_model_same_bytes(tmp_path):
    """Oracle: the file written before; safetensors' own writer orders its metadata anew on every call."""
    contents = set()
    for k in range(8):
        path = tmp_path / f"{k}.safetensors"
        checkpoint.save_model(make_model(np.float32), path, {"b": 1, "a": {"d": 2, "c": 3}})
        contents.add(path.read_bytes())
    assert len(contents) == 1
    other = make_model(np.float32)
    other.params["decoder.bias"][3] = np.nextafter(other.params["decoder.bias"][3], np.float32(9))
    checkpoint.save_model(other, path, {"b": 1, "a": {"d": 2, "c": 3}})
    assert path.read_bytes() not in contents


def test_the_format_is_safetensors(tmp_path):
    """Oracle: the format's definition: length, JSON header, tensors without gaps, every one aligned to its type."""
    content = saved(tmp_path).read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header.pop("__metadata__")
    places = sorted((*entry["data_offsets"], entry["dtype"]) for entry in header.values())
    assert length % 8 == 0
    assert [start for start, _, _ in places] == [0, *(stop for _, stop, _ in places[:-1])]
    assert places[-1][1] == len(content) - 8 - length
    assert all(start % 4 == 0 for start, _, dtype in places if dtype == "F32")


def not_contiguous(layout):
    """A model, and the same one with arrays that do not lie in memory in the order of their rows."""
    model, same = make_model(np.float32), make_model(np.float32)
    for name, value in same.params.items():
        same.params[name] = layout(value)
        assert_array_equal(same.params[name], value)
    assert not same.params["decoder.weight"].flags.c_contiguous
    return model, same


def strided(value):
    wide = np.zeros((*value.shape[:-1], 2 * value.shape[-1]), value.dtype)
    wide[..., ::2] = value
    return wide[..., ::2]


@pytest.mark.parametrize(
    "layout", [np.asfortranarray, strided, lambda value: value[::-1].copy()[::-1]], ids=["F", "strided", "flipped"]
)
def test_arrays_that_are_not_contiguous(layout, tmp_path):
    """Oracle: the same model with contiguous arrays: the same bytes."""
    model, same = not_contiguous(layout)
    nplm.save(model, tmp_path / "a.safetensors")
    nplm.save(same, tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    assert_array_equal(nplm.load(tmp_path / "b.safetensors").params["decoder.weight"], model.params["decoder.weight"])


def test_planted_bug_arrays_in_the_order_of_memory(tmp_path):
    """Planted bug: safetensors' own writer on transposed arrays; the checksum over the true values finds it."""
    model, same = not_contiguous(np.asfortranarray)
    tensors, metadata = checkpoint._pack(same, {})
    metadata |= {"format": tensorfile.FORMAT, "version": tensorfile.VERSION}
    metadata["sha256"] = tensorfile._digest(tensors, metadata)
    path = tmp_path / "model.safetensors"
    save_file(tensors, path, metadata)
    if np.array_equal(load_file(path)["decoder.weight"], model.params["decoder.weight"]):
        pytest.skip("the installed safetensors writes such arrays right")
    assert "checksum" in fails(path)


# ---- memory


def test_loading_takes_the_memory_of_the_file(tmp_path):
    """Oracle: the allocator's peak while a model is loaded, and the one array that all parameters are views of."""
    path = saved(tmp_path, vocab=2000, embed=500, hidden=500)
    tracemalloc.start()
    try:
        model = nplm.load(path)
        assert tracemalloc.get_traced_memory()[1] < 1.1 * path.stat().st_size
    finally:
        tracemalloc.stop()
    owners = set()
    for value in model.params.values():
        while value.base is not None:
            assert not isinstance(value, np.memmap)
            value = value.base
        owners.add(id(value))
    assert len(owners) == 1
    assert all(value.flags.writeable and value.ctypes.data % 8 == 0 for value in model.params.values())


ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    ("header", "phrase"),
    [
        ({"a": ENTRY, "b": ENTRY}, "overlap"),
        ({"a": ENTRY, "b": ENTRY | {"data_offsets": [12, 20]}}, "size does not match its shape"),
        ({"a": ENTRY | {"data_offsets": [8, 16]}}, "overlap, or leave gaps"),
        ({"a": ENTRY}, "overlap, or leave gaps"),
        ({"a": ENTRY | {"shape": [2, 2**40]}}, "size does not match its shape"),
        ({"a": ENTRY | {"shape": [-2]}}, "whole numbers"),
        ({"a": ENTRY | {"shape": [True]}}, "whole numbers"),
        ({"a": ENTRY | {"shape": 2}}, "whole numbers"),
        ({"a": ENTRY | {"data_offsets": [8]}}, "whole numbers"),
        ({"a": ENTRY | {"data_offsets": [0.0, 8.0]}}, "whole numbers"),
        ({"a": ENTRY | {"dtype": ["F32"]}}, "NumPy does not have"),
        ({"a": {"dtype": "F32"}}, "not exactly"),
        ({"a": [1]}, "not exactly"),
        ({"a": ENTRY, "__metadata__": {"format": 1}}, "metadata"),
        ({"a": ENTRY, "__metadata__": [1]}, "metadata"),
        ([1], "not a JSON object"),
    ],
)
def test_headers_that_lie(header, phrase, tmp_path):
    """Oracle: headers by hand over 16 bytes of data, each with one thing wrong."""
    path = tmp_path / "model.safetensors"
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(16))
    assert phrase in fails(path)


def test_a_header_nested_without_end(tmp_path):
    """Oracle: 100,000 opening brackets, which Python's reader of JSON cannot take."""
    path = tmp_path / "model.safetensors"
    path.write_bytes((100_000).to_bytes(8, "little") + b"[" * 100_000)
    assert "damaged" in fails(path)


# ---- damaged and foreign files


def test_every_truncation_is_found(tmp_path):
    """Oracle: the whole file loads; cut off anywhere, or with a byte more, it does not."""
    path = saved(tmp_path, **TINY)
    content = path.read_bytes()
    header = 8 + int.from_bytes(content[:8], "little")
    lengths = {*range(12), header - 1, header, header + 1, *range(16, len(content), 41), len(content) - 1}
    for length in sorted(lengths):
        path.write_bytes(content[:length])
        fails(path)
    path.write_bytes(content + b"\0")
    fails(path)
    path.write_bytes(content)
    nplm.load(path)


def test_every_flipped_bit_is_found(tmp_path):
    """Oracle: the whole file loads; with one bit flipped it does not: each byte of the header, and 150 of the data."""
    path = saved(tmp_path, **TINY)
    content = bytearray(path.read_bytes())
    header = 8 + int.from_bytes(content[:8], "little")
    rng = np.random.default_rng(7)
    bits = [(place, int(rng.integers(8))) for place in range(header)]
    places = rng.choice(np.arange(header, len(content)), 150, replace=False)
    bits += [(int(place), bit) for place in places for bit in range(8)]
    for place, bit in bits:
        content[place] ^= 1 << bit
        path.write_bytes(content)
        fails(path)
        content[place] ^= 1 << bit
    path.write_bytes(content)
    nplm.load(path)


def rewritten(path, **changes):
    """The file once more, with other metadata and a checksum that fits."""
    tensors, metadata = tensorfile.read(path)
    tensorfile.write(path, tensors, metadata | changes)
    return path


def test_a_metadata_key_of_a_newer_nplm_is_ignored(tmp_path):
    """Oracle: docs/contributing.md, the policy for file formats; the model saved."""
    path = saved(tmp_path, **TINY)
    before = nplm.load(path)
    after = nplm.load(rewritten(path, colour="blue"))
    assert after.config == before.config
    assert_array_equal(after.params["decoder.bias"], before.params["decoder.bias"])


def test_a_setting_of_a_newer_nplm_is_refused(tmp_path):
    """Oracle: the same policy: a model that this nplm would compute otherwise is not read."""
    path = saved(tmp_path, **TINY)
    config = json.loads(tensorfile.read(path)[1]["config"]) | {"peepholes": True}
    assert "peepholes" in fails(rewritten(path, config=json.dumps(config)))


def test_a_setting_that_an_older_nplm_did_not_have(tmp_path):
    """Oracle: the same policy: its default."""
    path = saved(tmp_path, **TINY)
    config = json.loads(tensorfile.read(path)[1]["config"])
    del config["noise_uniform"]
    assert nplm.load(rewritten(path, config=json.dumps(config))).config.noise_uniform == 0.0


def test_another_version(tmp_path, monkeypatch):
    """Oracle: a file of version 3, whole."""
    with monkeypatch.context() as patch:
        patch.setattr(tensorfile, "VERSION", "3")
        path = saved(tmp_path)
        nplm.load(path)
    assert "'3'" in fails(path)


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
def test_a_foreign_safetensors_file(metadata, tmp_path):
    """Oracle: a file that safetensors wrote, of PyTorch's and without metadata."""
    path = tmp_path / "other.safetensors"
    save_file({"weight": np.ones((2, 3), np.float32)}, path, metadata)
    assert "not of nplm" in fails(path)


@pytest.mark.parametrize("dtype", ["BF16", "F8_E4M3", "F64", "X9"])
def test_foreign_types(dtype, tmp_path):
    """Oracle: files written by hand, in types that NumPy has, has not, and nobody has."""
    path = tmp_path / "other.safetensors"
    width = {"BF16": 2, "F8_E4M3": 1}.get(dtype, 8)
    header = json.dumps({"a": {"dtype": dtype, "shape": [4], "data_offsets": [0, 4 * width]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4 * width))
    fails(path)


@pytest.mark.parametrize(
    "content",
    [b"", b"\0", b"a text\n" * 100, b"\xff" * 100, b"PK\3\4" + bytes(500), bytes(8), b"\2" + bytes(7) + b"{}"],
)
def test_not_safetensors_at_all(content, tmp_path):
    """Oracle: files of other kinds: empty, text, binary, zip, an empty header."""
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    fails(path)


def test_folder_and_missing_file(tmp_path):
    """Oracle: the message."""
    assert "folder" in fails(tmp_path)
    assert "No such file" in fails(tmp_path / "gone.safetensors")


@pytest.mark.parametrize(
    "damage",
    [
        lambda tensors, metadata: tensors.pop("decoder.bias"),
        lambda tensors, metadata: tensors.pop("vocabulary"),
        lambda tensors, metadata: tensors.pop("rnn.bias_hh_l0"),
        lambda tensors, metadata: tensors.update(odd=np.ones(3)),
        lambda tensors, metadata: tensors.update({"decoder.bias": np.ones(3, np.float32)}),
        lambda tensors, metadata: tensors.update(vocabulary=np.frombuffer(b"<unk>\n", np.uint8)),
        lambda tensors, metadata: metadata.pop("config"),
        lambda tensors, metadata: metadata.update(config="{"),
        lambda tensors, metadata: metadata.update(config="[1]"),
        lambda tensors, metadata: metadata.update(config='{"vocab_size": 11, "odd": 1}'),
        lambda tensors, metadata: metadata.update(config='{"vocab_size": 12}'),
    ],
)
def test_whole_files_that_hold_no_model(damage, tmp_path):
    """Oracle: a model with one part taken away or made wrong, written with a right checksum."""
    tensors, metadata = checkpoint._pack(make_model(np.float32), {})
    damage(tensors, metadata)
    path = tmp_path / "model.safetensors"
    tensorfile.write(path, tensors, metadata)
    assert "not a model this nplm can use" in fails(path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["encoder.weight", "rnn.bias_l1"])
def test_numbers_that_are_not_finite(name, value, tmp_path):
    """Oracle: the message names the parameters; one number among many is enough.  Neither written nor read."""
    model, path = make_model(np.float32), saved(tmp_path)
    before = path.read_bytes()
    model.params[name].flat[3] = value
    stored = name.replace("bias_", "bias_ih_")
    with pytest.raises(NotFiniteError, match=f"not written, because {stored} holds numbers that are not finite"):
        nplm.save(model, path)
    with pytest.raises(NotFiniteError, match=r"run\.h holds numbers"):
        checkpoint.save_run(make_model(np.float32), path, {}, {}, {"h": np.array([0.0, value])})
    assert path.read_bytes() == before
    tensorfile.write(path, *checkpoint._pack(model, {}))
    assert f"{name} holds numbers that are not finite" in fails(path)


# ---- whole or not at all


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    """Oracle: the old file's bytes; fsync says that the disk is full, as network file systems do."""
    path = saved(tmp_path)
    old = path.read_bytes()

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match=r"No space left on device.*untouched") as caught:
        nplm.save(make_model(np.float32, seed=2), path)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_synced(tmp_path, monkeypatch):
    """Oracle: the new file, which is in place; some file systems sync no folders."""
    sync, path, model = os.fsync, saved(tmp_path), make_model(np.float32, seed=2)

    def files_only(descriptor):
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):  # noqa: PTH112
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", files_only)
    nplm.save(model, path)
    assert_array_equal(nplm.load(path).params["decoder.bias"], model.params["decoder.bias"])


SAVE_INTO_A_LIMIT = """
import resource, signal, sys
import nplm
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
model = nplm.load(sys.argv[1])
model.params["decoder.bias"] += 1
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
try:
    nplm.save(model, sys.argv[1])
except nplm.InputError as error:
    print(error)
"""


@pytest.mark.parametrize("limit", [0, 2000])
def test_a_write_that_fails_half_way_leaves_the_old_file(limit, tmp_path):
    """Oracle: the old file's bytes; the kernel ends the write after 0 and 2000 bytes."""
    pytest.importorskip("resource", reason="this system has no limits on the size of files")
    path = saved(tmp_path)
    old = path.read_bytes()
    done = run_python(SAVE_INTO_A_LIMIT, path, limit)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    assert done.stdout.startswith(f"{path}: not written (File too large)")
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


SAVE_AND_DIE = """
import os, signal, sys
from pathlib import Path
import nplm
model = nplm.load(sys.argv[1])
model.params["decoder.bias"] += 1
Path.replace = lambda self, target: os.kill(os.getpid(), signal.SIGKILL)
nplm.save(model, sys.argv[1])
"""


def test_a_crash_before_the_rename_leaves_the_old_file(tmp_path):
    """Oracle: the old file's bytes; the process kills itself where it would rename.  The next save works."""
    path = saved(tmp_path)
    old = path.read_bytes()
    done = run_python(SAVE_AND_DIE, path)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert path.read_bytes() == old
    left = set(tmp_path.iterdir()) - {path}
    assert len(left) == 1 and left.pop().suffix == ".partial"
    nplm.save(make_model(np.float32, seed=2), path)
    assert path.read_bytes() != old


def test_places_that_cannot_be_written(tmp_path):
    """Oracle: the message: a folder that is not there, a file in a folder's place, a folder in the file's place."""
    model = make_model(np.float32)
    (tmp_path / "file").write_text("a file")
    (tmp_path / "folder" / "full").mkdir(parents=True)
    for name in ("gone/model.safetensors", "file/model.safetensors", "folder"):
        with pytest.raises(InputError, match="not written") as caught:
            nplm.save(model, tmp_path / name)
        assert str(tmp_path / name) in str(caught.value) and "\n" not in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]
