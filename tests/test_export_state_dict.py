"""From PyTorch.  Oracle: word_language_model's network, in PyTorch and in float64, on the same text."""

import json
from functools import partial
from importlib import import_module

import numpy as np
import pytest
from conftest import make_model
from safetensors.numpy import load_file, save_file

import nplm
from nplm.errors import InputError
from nplm.export import from_torch, read_state_dict, read_tokens

V, E, H, L = 30, 5, 8, 2
WORDS = [*(f"w{k}" for k in range(9)), "<eos>", *(f"w{k}" for k in range(9, 20)), "<unk>"]
WORDS += [f"w{k}" for k in range(20, V - 2)]  # the order of first appearance: <eos> is 9, <unk> is 21
COUNTS = [100 + 7 * k for k in range(V)]


def random_state_dict(seed=1, tied=False, embed=E, dtype=np.float64):
    """What word_language_model's LSTM has, all of it random."""
    rng = np.random.default_rng(seed)
    embed = H if tied else embed
    shapes = {"encoder.weight": (V, embed)}
    for k in range(L):
        shapes |= {f"rnn.weight_ih_l{k}": (4 * H, embed if k == 0 else H), f"rnn.weight_hh_l{k}": (4 * H, H)}
        shapes |= {f"rnn.bias_ih_l{k}": (4 * H,), f"rnn.bias_hh_l{k}": (4 * H,)}
    shapes |= {"decoder.weight": (V, H), "decoder.bias": (V,)}
    arrays = {name: rng.normal(0, 0.7, shape).astype(dtype) for name, shape in shapes.items()}
    if tied:
        arrays["decoder.weight"] = arrays["encoder.weight"]
    return arrays


def torch_log_probs(arrays, ids):
    """PyTorch's log-probabilities (T,B,V) of ids (T,B), from the zero state; strictly loaded."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    peer = torch.nn.Module()
    peer.encoder = torch.nn.Embedding(V, arrays["encoder.weight"].shape[1], dtype=torch.float64)
    peer.rnn = torch.nn.LSTM(arrays["encoder.weight"].shape[1], H, L, dtype=torch.float64)
    peer.decoder = torch.nn.Linear(H, V, dtype=torch.float64)
    peer.load_state_dict({name: torch.from_numpy(value) for name, value in arrays.items()}, strict=True)
    with torch.no_grad():
        hidden, _ = peer.rnn(peer.encoder(torch.from_numpy(ids.astype(np.int64))))
        return torch.log_softmax(peer.decoder(hidden), -1).numpy()


def text(seed=2, steps=12, batch=3):
    """Ids (T,B) in PyTorch's order of words."""
    return np.random.default_rng(seed).integers(0, V, (steps, batch))


def places(model, words=WORDS):
    """PyTorch's id of a word -> ours."""
    names = {"<eos>": "</s>", "<unk>": "<unk>"}
    return np.array([model.vocabulary.id(names.get(word, word)) for word in words], np.int32)


def ours(model, ids, words=WORDS):
    """Our log-probabilities (T,B,V) with the words in PyTorch's order."""
    ids_of = places(model, words)
    assert len(set(ids_of)) == len(words)
    return model.log_probs(ids_of[ids], model.zero_state(ids.shape[1]))[0][..., ids_of]


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.module."])
def test_same_probabilities(tied, prefix):
    """Oracle: PyTorch to 1e-12: both biases, tied or not, the order of words, under a prefix."""
    arrays, ids = random_state_dict(tied=tied), text()
    model = from_torch({prefix + name: value for name, value in arrays.items()}, WORDS, COUNTS)
    np.testing.assert_allclose(ours(model, ids), torch_log_probs(arrays, ids), rtol=0, atol=1e-12)
    assert model.vocabulary.tokens[:3] == ("<unk>", "</s>", "w0")
    assert model.vocabulary.counts[places(model)].tolist() == COUNTS
    assert model.params["decoder.weight"] is not model.params["encoder.weight"]
    assert (model.dtype, model.config.num_layers, model.config.hidden_dim) == (np.float64, L, H)


def test_evaluation():
    """Oracle: PyTorch's mean negative log-probability of the text's words, as nplm.evaluate measures it."""
    arrays = random_state_dict()
    model = from_torch(arrays, WORDS)
    ids = np.concatenate([[WORDS.index("<eos>")], text()[:, 0]])
    logp = torch_log_probs(arrays, ids[:-1, None])[:, 0]
    expected = -logp[np.arange(len(ids) - 1), ids[1:]].mean()
    assert nplm.evaluate(model, places(model)[ids[1:]], batch_size=1).nats == pytest.approx(expected, rel=1e-12)


def test_biases_that_are_not_there_are_zero():
    """Oracle: PyTorch with zeros in their place, as nn.LSTM(bias=False) and nn.Linear(bias=False) are."""
    arrays, ids = random_state_dict(), text()
    bare = {name: value for name, value in arrays.items() if "bias" not in name}
    filled = bare | {name: np.zeros_like(value) for name, value in arrays.items() if "bias" in name}
    np.testing.assert_allclose(ours(from_torch(bare, WORDS), ids), torch_log_probs(filled, ids), atol=1e-12)


@pytest.mark.parametrize(("dtype", "expected"), [(np.float16, np.float32), (np.float32, np.float32)])
def test_types(dtype, expected):
    """Oracle: the numbers themselves: no precision is lost; without counts every word is seen once."""
    arrays = random_state_dict(dtype=dtype)
    model = from_torch(arrays, WORDS)
    assert model.dtype == expected
    np.testing.assert_array_equal(model.params["encoder.weight"][places(model)], arrays["encoder.weight"])
    assert model.vocabulary.counts.tolist() == [1] * V


def test_other_names_of_the_marks():
    """Oracle: the word list: whatever it calls them, they are ids 0 and 1, with their own rows."""
    arrays = random_state_dict()
    words = ["[END]" if word == "<eos>" else "[OOV]" if word == "<unk>" else word for word in WORDS]
    model = from_torch(arrays, words, eos="[END]", unk="[OOV]")
    for name in ("encoder.weight", "decoder.weight", "decoder.bias"):
        np.testing.assert_array_equal(model.params[name][:2], arrays[name][[21, 9]])


@pytest.mark.parametrize("shift", [0.0, -500.0])
def test_add_unk(shift):
    """Oracle: PyTorch: the words' probabilities stay; <unk> has next to none, however low all scores are."""
    arrays, ids = random_state_dict(), text()
    arrays["decoder.bias"] += shift
    words = ["w99" if word == "<unk>" else word for word in WORDS]
    model = from_torch(arrays, words, COUNTS, add_unk=True)
    assert (len(model.vocabulary), model.vocabulary.counts[0]) == (V + 1, 0)
    np.testing.assert_allclose(ours(model, ids, words), torch_log_probs(arrays, ids), rtol=0, atol=1e-11)
    np.testing.assert_allclose(model.params["encoder.weight"][0], arrays["encoder.weight"].mean(axis=0))
    unknown = model.log_probs(np.zeros((3, 1), np.int32), model.zero_state(1))[0][..., 0]
    assert (unknown < -99).all() and np.isfinite(unknown).all()


# ---- what is refused


def without(name):
    return lambda arrays: arrays.pop(name)


def put(name, shape):
    return lambda arrays: arrays.update({name: np.ones(shape)})


@pytest.mark.parametrize(
    ("damage", "line"),
    [
        (put("rnn.weight_hh_l0", (3 * H, H)), "this is a GRU; nplm has LSTMs only"),
        (put("rnn.weight_hh_l0", (H, H)), "this is a plain RNN"),
        (put("rnn.weight_ih_l0_reverse", (4 * H, E)), "reads in both directions"),
        (put("rnn.weight_hr_l0", (4, H)), "projects its state"),
        (without("encoder.weight"), "no encoder.weight"),
        (without("decoder.weight"), "no decoder.weight"),
        (without("rnn.weight_hh_l1"), "no rnn.weight_hh_l1"),
        (
            put("rnn.weight_ih_l1", (4 * H, E)),
            r"rnn.weight_ih_l1 has shape \(32, 5\), but the other arrays imply \(32, 8\)",
        ),
        (put("decoder.bias", (V + 1,)), r"decoder.bias has shape \(31,\), but the other arrays imply \(30,\)"),
        (put("encoder.weight", (V,)), r"encoder.weight has shape \(30,\); it should be a matrix"),
        (put("pos_encoder.pe", (3, 3)), "pos_encoder.pe is not a parameter"),
        (lambda arrays: arrays.update({"decoder.bias": np.ones(V, int)}), "decoder.bias is int64"),
        (lambda arrays: arrays["decoder.bias"].fill(np.nan), "decoder.bias has numbers that are not finite"),
    ],
)
def test_what_is_no_lstm(damage, line):
    """Oracle: a model with one part taken away or made wrong; the message names it."""
    arrays = random_state_dict()
    damage(arrays)
    with pytest.raises(InputError, match=line):
        from_torch(arrays, WORDS)


@pytest.mark.parametrize(
    ("words", "options", "line"),
    [
        (WORDS[1:], {}, "29 words for the 30 rows of encoder.weight"),
        (["x" if word == "<eos>" else word for word in WORDS], {}, "no </s> or <eos> among the words.*`eos`"),
        (WORDS, {"eos": "."}, "no . among the words.*`eos`"),
        (WORDS, {"unk": "UNK"}, "no UNK among the words.*`add_unk`"),
        (WORDS, {"unk": "<eos>"}, "no </s> or <eos>"),
        (["<s>" if word == "w3" else word for word in WORDS], {}, "<s> is among the words.*<bos>"),
        (["w4" if word == "w3" else word for word in WORDS], {}, "'w4' is in the vocabulary twice"),
        (WORDS, {"counts": [1, 2]}, "30 words have 2 counts"),
    ],
)
def test_words_that_do_not_fit(words, options, line):
    """Oracle: the message, with the remedy."""
    with pytest.raises(InputError, match=line):
        from_torch(random_state_dict(), words, **options)


# ---- files


def test_word_lists(tmp_path):
    """Oracle: the words put in, with Windows' line ends, a byte order mark, a last line without an end."""
    (tmp_path / "a").write_bytes("\ufeffthe\r\n日本\r\n<eos>".encode())
    assert read_tokens(tmp_path / "a") == (["the", "日本", "<eos>"], None, None)
    (tmp_path / "a").write_bytes(b"the\t3\n<eos>\t0\n")
    assert read_tokens(tmp_path / "a") == (["the", "<eos>"], [3, 0], None)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"a\nb c\n", r"line 2: 'b c' is not a word"),
        (b"a\n\nb\n", r"line 2: '' is not a word"),
        (b"", r"line 1: '' is not a word"),
        (b"a\nb\na\n", r"line 3: the word 'a' is already in line 1"),
        (b"a\t1\nb\t-2\n", r"line 2: the count '-2' is not a whole number"),
        (b"a\t1\nb\n", r"line 2: only some lines have a count"),
        (b"a\nb\t1\n", r"line 2: only some lines have a count"),
        (b"a\n\xff\n", r"byte 2 is not UTF-8"),
    ],
)
def test_damaged_word_lists(content, line, tmp_path):
    """Oracle: the message: file, line, value."""
    (tmp_path / "words.txt").write_bytes(content)
    with pytest.raises(InputError, match=r"words\.txt") as caught:
        read_tokens(tmp_path / "words.txt")
    caught.match(line)


@pytest.mark.parametrize("new_format", [True, False])
def test_what_torch_save_wrote(new_format, tmp_path):
    """Oracle: the arrays saved, bfloat16 among them; in both formats of torch.save."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    arrays = random_state_dict(dtype=np.float32)
    state_dict = {name: torch.from_numpy(value) for name, value in arrays.items()}
    state_dict["decoder.bias"] = state_dict["decoder.bias"].bfloat16()
    torch.save(state_dict, tmp_path / "model.pt", _use_new_zipfile_serialization=new_format)
    got, words = read_state_dict(tmp_path / "model.pt")
    assert words is None and set(got) == set(arrays)
    for name in set(arrays) - {"decoder.bias"}:
        np.testing.assert_array_equal(got[name], arrays[name], strict=True)
    np.testing.assert_allclose(got["decoder.bias"], arrays["decoder.bias"], rtol=2**-8)


def test_tied_weights_that_safetensors_keeps_once(tmp_path):
    """Oracle: PyTorch's model before it was saved."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    peer = torch.nn.Module()
    peer.encoder, peer.rnn, peer.decoder = (torch.nn.Embedding(V, H), torch.nn.LSTM(H, H, L), torch.nn.Linear(H, V))
    peer.decoder.weight = peer.encoder.weight
    import_module("safetensors.torch").save_model(peer, str(tmp_path / "model.safetensors"))
    assert len(load_file(tmp_path / "model.safetensors")) == len(peer.state_dict()) - 1
    got, _ = read_state_dict(tmp_path / "model.safetensors")
    for name, value in peer.state_dict().items():
        np.testing.assert_array_equal(got[name], value.numpy())


def test_files_that_are_no_state_dict(tmp_path):
    """Oracle: the message; a pickled model, an optimiser beside the parameters, files cut short, a text, a sparse array
    with a place outside it."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    torch.save(torch.nn.Linear(2, 2), tmp_path / "whole.pt")
    torch.save({"model": {"a": torch.ones(1)}, "epoch": 3}, tmp_path / "more.pt")
    torch.save({"a": torch.ones(9)}, tmp_path / "cut.pt")
    (tmp_path / "cut.pt").write_bytes((tmp_path / "cut.pt").read_bytes()[:300])
    outside = torch.sparse_coo_tensor([[5]], [1.0], (3,), check_invariants=False)
    torch.save({"a": outside}, tmp_path / "sparse.pt")
    (tmp_path / "text.pt").write_text("the cat sat on the mat\n")
    save_file({"a": np.ones(9)}, tmp_path / "cut.safetensors")
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "cut.safetensors").read_bytes()[:-1])
    nplm.save(make_model(), tmp_path / "ours.safetensors")
    lines = {
        "whole.pt": r"torch\.save\(model\.state_dict\(\), FILE\)",
        "more.pt": "not just a state_dict",
        "cut.pt": "damaged",
        "text.pt": "damaged",
        "sparse.pt": "damaged",
        "cut.safetensors": "damaged",
        "ours.safetensors": "already a model of nplm",
        "gone.pt": "cannot be read",
    }
    for name, line in lines.items():
        with pytest.raises(InputError, match=line) as caught:
            read_state_dict(tmp_path / name)
        assert str(caught.value).startswith(str(tmp_path / name)) and "\n" not in str(caught.value)


# ---- the command


@pytest.fixture
def run(nplm):
    """Runs `nplm import` in this process."""
    return partial(nplm, "import")


def test_the_command(run, tmp_path):
    """Oracle: from_torch; the list with counts, and one without, which is said."""
    arrays = random_state_dict()
    save_file(arrays, tmp_path / "model.safetensors")
    (tmp_path / "words.txt").write_text("".join(f"{w}\t{n}\n" for w, n in zip(WORDS, COUNTS, strict=True)))
    args = (tmp_path / "model.safetensors", "--vocab", tmp_path / "words.txt", "-o", tmp_path / "got.safetensors")
    code, out, err = run(*args)
    assert (code, out) == (0, "") and err.endswith(": 2 LSTM layer(s) of 8 units, 30 words, float64\n")
    expected, got = from_torch(arrays, WORDS, COUNTS), nplm.load(tmp_path / "got.safetensors")
    assert (got.config, got.vocabulary) == (expected.config, expected.vocabulary)
    for name, value in expected.params.items():
        np.testing.assert_array_equal(got.params[name], value)
    code, out, err = run(*args[:-1], "-")
    assert (code, out) == (2, "") and "not to standard output" in err
    (tmp_path / "words.txt").write_text("\n".join(WORDS))
    code, out, err = run(*args)
    assert (code, out) == (0, "") and "treat each word as seen once" in err
    assert nplm.load(tmp_path / "got.safetensors").vocabulary == from_torch(arrays, WORDS).vocabulary


def test_mistakes(run, tmp_path):
    """Oracle: exit code 2 and one line that names the file; nothing is written."""
    model, words = tmp_path / "model.safetensors", tmp_path / "words.txt"
    save_file(random_state_dict(), model)
    words.write_text("\n".join(WORDS[1:]))
    out = ("-o", tmp_path / "out.safetensors")
    mistakes = {
        "model.safetensors: it has no words; give them with --vocab": (model, *out),
        "words.txt: 29 words for the 30 rows": (model, "--vocab", words, *out),
        "gone.txt: cannot be read": (model, "--vocab", tmp_path / "gone.txt", *out),
        "Missing option '-o'": (model,),
    }
    for line, args in mistakes.items():
        code, stdout, err = run(*args)
        assert (code, stdout, err.count("\n")) == (2, "", 1) and line in err, err
    assert not (tmp_path / "out.safetensors").exists()


def test_without_torch(run, tmp_path, monkeypatch):
    """Oracle: the line that says what to install."""
    monkeypatch.setitem(import_module("sys").modules, "torch", None)
    (tmp_path / "model.pt").write_bytes(b"PK\x03\x04 and so on")
    code, _, err = run(tmp_path / "model.pt", "-o", tmp_path / "out.safetensors")
    assert code == 2 and err.endswith("pip install 'nplm-nce[torch]'\n")


def test_a_model_of_pytorch_trains_on(tmp_path):
    """Oracle: the loss, which falls on a chunk seen again: an imported model is a model like any other."""
    model = from_torch(random_state_dict(), WORDS, COUNTS)
    ids, noise = places(model)[text()], np.arange(V, dtype=np.int32)
    first, grads, _ = model.loss_and_grads(ids[:-1], ids[1:], noise, model.zero_state(3))
    for name, value in model.params.items():
        value -= 1e-3 * np.asarray(grads[name])
    assert model.loss_and_grads(ids[:-1], ids[1:], noise, model.zero_state(3))[0] < first
    nplm.save(model, tmp_path / "model.safetensors")
    assert json.loads(nplm.load(tmp_path / "model.safetensors").vocabulary.to_bytes().split()[1]) == COUNTS[21]
