"""A model for other programs.  Oracles: PyTorch, onnxruntime, gensim and tokenizers, each reading what was written."""

import json
import random
import unicodedata
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from conftest import assert_close, make_chunk, make_model
from safetensors import safe_open
from safetensors.numpy import load_file
from test_docs import blocks

import nplm
from nplm.data.text import open_text
from nplm.data.units import WORDS
from nplm.data.vocabulary import Vocabulary
from nplm.errors import InputError
from nplm.export import onnx as onnx_export
from nplm.export import to_folder, to_onnx, to_torch, to_word2vec
from nplm.export import torch as torch_export
from nplm.storage import checkpoint

TOKENS = ["<unk>", "</s>", "the", "naïve", "日本", "Ἀθῆναι", "don't", "3,000", "a\u200bb", "\ufeff", "</s>x", "#", "🙂"]


@pytest.fixture(scope="module", params=[np.float32, np.float64])
def model(request):
    """30 words, odd ones among them; all sizes different."""
    made = make_model(request.param, vocab=30, embed=5, hidden=8)
    tokens = [*TOKENS, *(f"w{k}" for k in range(30 - len(TOKENS)))]
    return nplm.LanguageModel(made.config, Vocabulary(tokens, range(30)), made.params)


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    """The model's folder."""
    path = tmp_path_factory.mktemp("export") / "folder"
    to_folder(model, path, {"epoch": 3})
    return path


def needs(name):
    return pytest.importorskip(name, reason=f"{name} is not installed")


# ---- torch


def test_torch(model, tmp_path):
    """Oracle: load_state_dict(strict=True) of the file as it is, and the log-probabilities of that network."""
    torch = needs("torch")
    to_torch(model, tmp_path / "model.safetensors")
    tensors = import_module("safetensors.torch").load_file(tmp_path / "model.safetensors")
    dtype = tensors["encoder.weight"].dtype
    peer = torch.nn.Module()
    peer.encoder = torch.nn.Embedding(30, 5, dtype=dtype)
    peer.rnn = torch.nn.LSTM(5, 8, 2, dtype=dtype)
    peer.decoder = torch.nn.Linear(8, 30, dtype=dtype)
    peer.load_state_dict(tensors, strict=True)
    chunk = make_chunk(model)
    with torch.no_grad():
        x = peer.encoder(torch.from_numpy(chunk.inputs.astype(np.int64)))
        hidden, (h, c) = peer.rnn(x, tuple(map(torch.from_numpy, chunk.state)))
        expected = torch.log_softmax(peer.decoder(hidden), -1).numpy()
    got, state = model.log_probs(chunk.inputs, chunk.state)
    tolerance = 1e-5 if model.dtype == np.float32 else 1e-12
    np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance)
    np.testing.assert_allclose(state.h, h.numpy(), rtol=0, atol=tolerance)
    np.testing.assert_allclose(state.c, c.numpy(), rtol=0, atol=tolerance)


def test_torch_metadata(model, tmp_path):
    """Oracle: the model's configuration and vocabulary; `format` is what other readers ask for."""
    to_torch(model, tmp_path / "model.safetensors")
    with safe_open(tmp_path / "model.safetensors", framework="numpy") as file:
        metadata = file.metadata()
    assert metadata.keys() == {"format", "config", "unit", "vocabulary"}
    assert metadata["format"] == "pt"
    assert nplm.ModelConfig(**json.loads(metadata["config"])) == model.config
    assert Vocabulary.from_bytes(metadata["vocabulary"].encode()) == model.vocabulary


def test_torch_with_more_words_than_a_header_holds(model, tmp_path, monkeypatch):
    """Oracle: the message; nothing is written."""
    monkeypatch.setattr(torch_export, "MAX_METADATA", 300)
    with pytest.raises(InputError, match=r"model\.safetensors: the words take .* export it to folder"):
        to_torch(model, tmp_path / "model.safetensors")
    assert list(tmp_path.iterdir()) == []


# ---- ONNX


@pytest.fixture(scope="module")
def session(model, tmp_path_factory):
    """The model in onnxruntime."""
    needs("onnx")
    runtime = needs("onnxruntime")
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    to_onnx(model, path)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return runtime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])


def test_onnx_step_by_step(model, session):
    """Oracle: LanguageModel.log_probs in the model's own precision; pieces of several T, state carried; two B."""
    for batch in (1, 3):
        chunk = make_chunk(model, steps=11, batch=batch)
        expected, after = model.log_probs(chunk.inputs, chunk.state)
        h, c = (value.astype(np.float32) for value in chunk.state)
        got = []
        for piece in np.split(chunk.inputs.astype(np.int64), [1, 5, 7]):
            log_probs, h, c = session.run(["log_probs", "h_out", "c_out"], {"input": piece, "h": h, "c": c})
            got.append(log_probs)
        np.testing.assert_allclose(np.concatenate(got), expected, rtol=0, atol=1e-5)
        np.testing.assert_allclose(h, after.h, rtol=0, atol=1e-5)
        np.testing.assert_allclose(c, after.c, rtol=0, atol=1e-5)


@pytest.mark.parametrize("layers", [1, 3])
def test_onnx_layers(layers, tmp_path):
    """Oracle: onnx's checker with its shape inference; LanguageModel.log_probs."""
    onnx, runtime = needs("onnx"), needs("onnxruntime")
    model = make_model(np.float32, layers=layers)
    to_onnx(model, tmp_path / "model.onnx")
    made = onnx.load(tmp_path / "model.onnx")
    onnx.checker.check_model(made, full_check=True)
    inferred = onnx.shape_inference.infer_shapes(made, strict_mode=True).graph.output
    sizes = {v.name: [d.dim_value or d.dim_param for d in v.type.tensor_type.shape.dim] for v in inferred}
    assert sizes == {"log_probs": ["T", "B", 11], "h_out": [layers, "B", 6], "c_out": [layers, "B", 6]}
    session = runtime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    chunk = make_chunk(model)
    feeds = {"input": chunk.inputs.astype(np.int64), "h": chunk.state.h, "c": chunk.state.c}
    expected, _ = model.log_probs(chunk.inputs, chunk.state)
    np.testing.assert_allclose(session.run(["log_probs"], feeds)[0], expected, rtol=0, atol=1e-5)


def test_onnx_metadata(model, session):
    """Oracle: the model's configuration and vocabulary, as onnxruntime reads them."""
    metadata = session.get_modelmeta().custom_metadata_map
    assert metadata["vocab_size"] == "30"
    assert nplm.ModelConfig(**json.loads(metadata["config"])) == model.config
    assert Vocabulary.from_bytes(metadata["vocabulary"].encode()) == model.vocabulary


def test_onnx_of_a_model_too_large(model, tmp_path, monkeypatch):
    """Oracle: the message; nothing is written."""
    needs("onnx")
    monkeypatch.setattr(onnx_export, "LARGEST", 1000)
    with pytest.raises(InputError, match=r"model\.onnx: .* export it to torch or folder"):
        to_onnx(model, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


# ---- word2vec


@pytest.mark.parametrize("layer", ["input", "output"])
@pytest.mark.parametrize("binary", [False, True])
def test_word2vec(binary, layer, model, tmp_path):
    """Oracle: gensim: the same words in the same order, the same bits; in float64 the text has those bits too."""
    vectors = needs("gensim.models").KeyedVectors
    to_word2vec(model, tmp_path / "vectors", binary=binary, layer=layer)
    weight = model.params["encoder.weight" if layer == "input" else "decoder.weight"]
    kinds = {np.float32} if binary else {np.float32, model.dtype.type}
    for kind in kinds:
        got = vectors.load_word2vec_format(tmp_path / "vectors", binary=binary, datatype=kind)
        assert got.index_to_key == list(model.vocabulary.tokens)
        np.testing.assert_array_equal(got.vectors, weight.astype(kind), strict=True)


def test_word2vec_text_by_hand(tmp_path):
    """Oracle: the format as printed, with numbers that are hard to write."""
    model = make_model(np.float32, vocab=3, embed=3)
    model.params["encoder.weight"][...] = [[1, -0.0, 0.1], [2**-149, 3.4028235e38, 16777217], [0.5, -2, 1 / 3]]
    to_word2vec(model, tmp_path / "vectors")
    lines = (tmp_path / "vectors").read_text().splitlines()
    assert lines[0] == "3 3"
    assert [line.split()[0] for line in lines[1:]] == ["<unk>", "</s>", "w2"]
    numbers = np.array([line.split(" ")[1:] for line in lines[1:]], np.float32)
    assert numbers.tobytes() == model.params["encoder.weight"].tobytes()


def test_word2vec_layers(model, tmp_path):
    """Oracle: the message."""
    with pytest.raises(InputError, match=r"layer = 'middle' is not one of input, output"):
        to_word2vec(model, tmp_path / "vectors", layer="middle")


# ---- folder


def test_folder(model, folder):
    """Oracle: the model itself: the file that save writes, the configuration, the words line by line."""
    assert {path.name for path in folder.iterdir()} == {
        "config.json",
        "model.safetensors",
        "vocab.txt",
        "tokenizer.json",
    }
    again = nplm.load(folder / "model.safetensors")
    assert again.config == model.config and again.vocabulary == model.vocabulary
    for name, value in model.params.items():
        np.testing.assert_array_equal(again.params[name], value, strict=True)
    assert checkpoint.provenance(folder / "model.safetensors") == {"epoch": 3}
    assert (folder / "vocab.txt").read_bytes().decode().split("\n") == [*model.vocabulary.tokens, ""]
    config = json.loads((folder / "config.json").read_text())
    assert config["hidden_dim"] == 8 and config["dtype"] == str(model.dtype)
    assert (config["unk_token_id"], config["eos_token_id"]) == (0, 1)


def our_ids(model, line, tmp_path):
    """What nplm reads a line of text as."""
    (tmp_path / "line.txt").write_text(f"\n{line}\n", encoding="utf-8", newline="")  # the first line may lose a mark
    words = list(open_text(tmp_path / "line.txt"))[1]
    return [*model.vocabulary.encode(words).tolist(), 1]


def test_tokenizer_on_random_lines(model, folder, tmp_path):
    """Oracle: nplm's own reader, on lines of words known and unknown, all kinds of white space, and sentence marks."""
    tokenizer = needs("tokenizers").Tokenizer.from_file(str(folder / "tokenizer.json"))
    rng = random.Random(1)
    spaces = [chr(c) for c in range(0x3001) if chr(c).isspace() and chr(c) not in "\n"]
    words = [*TOKENS[2:], "<unk>", "unheard", "x</s>", "<s>x", "the,", "THE", "na\u0308ive"]
    lines = [
        "",
        " ",
        "</s>",
        "<s>",
        "<s> </s>",
        "\u3000<s>\x1fthe\x1c</s>\x85",
        "<unk>",
        "</s>x </s>",
        "<s>the",
        "the</s>",
    ]
    for _ in range(300):
        line = "".join(rng.choice(words) + "".join(rng.choices(spaces, k=rng.randint(1, 2))) for _ in range(5))
        lines.append(rng.choice(["", "<s> ", "<s>\t", " "]) + line + rng.choice(["", "</s>", "</s> ", " "]))
    for line in lines:
        assert tokenizer.encode(line).ids == our_ids(model, line, tmp_path), repr(line)
    assert [got.ids for got in tokenizer.encode_batch(["the", "# the"])] == [[2, 1], [11, 2, 1]]
    assert tokenizer.encode("the", "#").ids == [2, 1, 11, 1]
    assert tokenizer.get_vocab_size() == 30


def test_tokenizer_on_every_character(folder):
    """Oracle: the rule of WORDS: which characters part words, of all that Unicode has."""
    tokenizer = needs("tokenizers").Tokenizer.from_file(str(folder / "tokenizer.json"))
    characters = [chr(c) for c in range(0x30000) if unicodedata.category(chr(c)) not in ("Cs", "Cn")]
    text = "".join(f"a{character}b " for character in characters)
    normal = tokenizer.normalizer.normalize_str(text)
    assert [word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(normal)] == WORDS.split(text)


def test_a_folder_that_is_there(model, folder):
    """Oracle: the message; the folder stays as it is."""
    before = {path: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(InputError, match="name a folder that does not exist yet"):
        to_folder(model, folder)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


# ---- the command


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The path of a model, in a folder like a run's."""
    path = tmp_path_factory.mktemp("run") / "best.safetensors"
    checkpoint.save_model(make_model(np.float32), path, {"epoch": 3})
    return path


@pytest.fixture
def run(nplm):
    """Runs a command line; by another name, because the package is used here too."""
    return nplm


@pytest.mark.parametrize("form", ["torch", "onnx", "word2vec", "word2vec-binary", "folder"])
def test_the_command(form, saved, run, tmp_path):
    """Oracle: the Python function behind it, byte by byte; a run's folder stands for its best model."""
    if form == "onnx":
        needs("onnx")
    code, out, err = run("export", saved.parent, "--to", form, "-o", tmp_path / "got")
    assert (code, out) == (0, "") and err.startswith(f"{tmp_path / 'got'}: ") and err.count("\n") == 1
    model = nplm.load(saved)
    write = {
        "torch": to_torch,
        "onnx": to_onnx,
        "word2vec": to_word2vec,
        "word2vec-binary": lambda model, path: to_word2vec(model, path, binary=True),
        "folder": lambda model, path: to_folder(model, path, {"epoch": 3}),
    }
    write[form](model, tmp_path / "expected")
    assert contents(tmp_path / "got") == contents(tmp_path / "expected")


def contents(path):
    """Bytes of a file, or of all files in a folder by name."""
    return {part.name: part.read_bytes() for part in path.iterdir()} if path.is_dir() else path.read_bytes()


def test_the_layer(saved, run, tmp_path):
    """Oracle: the size of the output layer's vectors in the first line."""
    assert run("export", saved, "--to", "word2vec", "--layer", "output", "-o", tmp_path / "v")[0] == 0
    assert (tmp_path / "v").read_text().startswith("11 6\n")


def test_mistakes(saved, run, tmp_path):
    """Oracle: exit code 2, one line that names what is wrong; the model is as it was, and nothing is left behind."""
    before = saved.read_bytes()
    output = ("-o", tmp_path / "out")
    mistakes = {
        "this is the model itself": (saved, "--to", "torch", "-o", saved),
        "--layer output is for word2vec only": (saved, "--to", "torch", "--layer", "output", *output),
        "not one of 'torch'": (saved, "--to", "keras", *output),
        "Missing option '-o'": (saved, "--to", "torch"),
        "not to standard output": (saved, "--to", "torch", "-o", "-"),
        "gone.safetensors: cannot be read": (tmp_path / "gone.safetensors", "--to", "folder", *output),
        "No such file": (saved, "--to", "word2vec", "-o", tmp_path / "gone" / "out"),
        "already exists": (saved, "--to", "folder", "-o", tmp_path),
    }
    for line, args in mistakes.items():
        code, out, err = run("export", *args)
        assert (code, out, err.count("\n")) == (2, "", 1) and line in err, err
    assert saved.read_bytes() == before
    assert list(tmp_path.iterdir()) == []


def test_without_onnx(saved, run, tmp_path, monkeypatch):
    """Oracle: the line that says what to install; nothing is written."""
    monkeypatch.setitem(import_module("sys").modules, "onnx", None)
    code, out, err = run("export", saved, "--to", "onnx", "-o", tmp_path / "out")
    assert (code, out) == (2, "") and err.endswith("pip install 'nplm-nce[onnx]'\n")
    assert list(tmp_path.iterdir()) == []


def test_a_torch_export_comes_back(saved, run, tmp_path):
    """Oracle: the model exported: every number, the vocabulary and its counts."""
    assert run("export", saved, "--to", "torch", "-o", tmp_path / "torch.safetensors")[0] == 0
    assert run("import", tmp_path / "torch.safetensors", "-o", tmp_path / "back.safetensors")[0] == 0
    model, again = nplm.load(saved), nplm.load(tmp_path / "back.safetensors")
    assert again.vocabulary == model.vocabulary
    for name, value in load_file(saved).items():
        assert_close(load_file(tmp_path / "back.safetensors")[name], value, 0)
    assert again.config.hidden_dim == model.config.hidden_dim


# ---- the page


def test_the_page(tmp_path, monkeypatch):
    """Oracle: the asserts in the page's blocks that need other packages; all of its blocks run, in order."""
    for name in ("torch", "onnx", "onnxruntime", "gensim", "tokenizers"):
        needs(name)
    monkeypatch.chdir(tmp_path)
    page, namespace = Path(__file__).parent.parent / "docs" / "howto" / "export.md", {}
    code = "\n".join(block.text for block in blocks(page))
    assert code.count("# needs ") == 4
    exec(compile(code, str(page), "exec"), namespace)
