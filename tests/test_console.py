"""Oracle: the exit code. Every command of the pages is run as it stands, in a folder with the files it names."""

import lzma
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import nplm

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs" / "howto").glob("*.md"))]
EXTRAS = {  # words of a command -> the package it needs
    "--to onnx": "onnx",
    "nplm plot": "matplotlib",
    "--tensorboard": "tensorboardX",
}


def commands(page: Path) -> list[str]:
    """The lines after `$ ` of the page's console blocks."""
    text = page.read_text(encoding="utf-8")
    found = re.findall(r"^```console\n(.*?)^```", text, re.M | re.S)
    return [line[2:] for block in found for line in block.splitlines() if line.startswith("$ ")]


WITH_COMMANDS = [page for page in PAGES if commands(page)]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Texts, and two run folders."""
    folder = tmp_path_factory.mktemp("shop")
    rng = np.random.default_rng(1)
    words = np.array(["the", "a", "cat", "dog", "sat", "at", *(f"w{k}" for k in range(2, 12))])
    for name, lines in (("train", 300), ("valid", 30), ("test", 30), ("other", 20), ("a", 300), ("b", 300)):
        drawn = [" ".join(rng.choice(words, rng.integers(1, 9))) for _ in range(lines)]
        (folder / f"{name}.txt").write_text("\n".join(drawn) + "\n", encoding="utf-8")
    (folder / "my").mkdir()
    (folder / "my" / "layers.py").write_text(LAYERS, encoding="utf-8")
    shell("gzip b.txt; cp b.txt.gz big.gz; cp other.txt notes.txt", folder)
    shell("mkdir news web; cp a.txt other.txt news; gzip -c a.txt > wiki.txt.gz", folder)
    for place in ("news", "web"):
        (folder / place / "today.xz").write_bytes(lzma.compress((folder / "a.txt").read_bytes()))
    corpus = nplm.load_corpus(*(folder / f"{name}.txt" for name in ("train", "valid", "test")))
    for name, seed in (("run", 1), ("run2", 2)):
        config = nplm.ModelConfig(len(corpus.vocabulary), embed_dim=8, hidden_dim=12, num_layers=1)
        model = nplm.LanguageModel.init(config, corpus.vocabulary, np.random.default_rng(seed))
        settings = nplm.TrainConfig(epochs=2, num_noise=8, log_interval=5, seed=seed)
        nplm.train(model, corpus, settings, save=folder / name)
    return folder


LAYERS = """# what howto/gradcheck.md checks
import numpy as np

def dense_forward(x, w, b):
    return x @ w + b, (x, w)

def dense_backward(dout, cache):
    x, w = cache
    return dout @ w.T, x.T @ dout, dout.sum(axis=0)

def lookup_forward(table, ids):
    return table[ids], (table.shape, ids)

def lookup_backward(dout, cache):
    shape, ids = cache
    dtable = np.zeros(shape, dout.dtype)
    np.add.at(dtable, ids, dout)
    return dtable
"""


def shell(script: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    """Run a script in a folder; `nplm` is this package's command."""
    head = f'set -e\nnplm() {{ "{sys.executable}" -m nplm "$@"; }}\n'
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(["bash", "-c", head + script], cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.skipif(shutil.which("bash") is None, reason="the pages' commands are written for a shell")
@pytest.mark.parametrize("page", WITH_COMMANDS, ids=lambda page: page.stem)
def test_commands_run(page: Path, shop: Path, tmp_path: Path) -> None:
    """Oracle: the shell's exit code, command by command in the order of the page."""
    folder = tmp_path / "shop"
    shutil.copytree(shop, folder)
    if any("--save run" in command for command in commands(page)):
        shutil.rmtree(folder / "run")  # the page makes it
    for command in commands(page):
        for words, package in EXTRAS.items():
            if words in command:
                pytest.importorskip(package)
        done = shell(command, folder)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
