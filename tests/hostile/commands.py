"""Every command that writes, on small inputs: what it writes, and what must be true of it after a fault.

The old file is whole, or the new one is.  The command ends with 0, and then the new one is there; or with 2 and one
line.  A run can be gone on with, and ends with the same bits.
"""

import os
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
from conftest import make_model
from hostile.binary import SIZES, toy
from hostile.configurations import difference
from hostile.foreign import COUNTS, WORDS, good_state_dict
from safetensors import numpy as safetensors

import nplm
from nplm.cli import main

OLD = b"what was there before"
TRAIN = (
    *("train", "--train", "{in}/text.txt", "--valid", "{in}/text.txt"),
    *("--hidden", "4", "--emsize", "3", "--layers", "1"),
    *("--nce", "3", "--bptt", "3", "--batch-size", "4", "--sequence-length", "6", "--lr", "1", "--log-interval", "2"),
    *("--epochs", "2", "--threads", "1", "--save-interval", "0", "--save", "{out}/run"),
)  # fmt: skip


class Command(NamedTuple):
    """A command line, and the file, folder or run that it writes in {out}."""

    name: str
    arguments: tuple[str, ...]
    writes: str
    kind: str = "file"  # or "folder", which must not be there before; or "run"
    needs: str = ""  # a package


def _export(form: str, writes: str, kind: str = "file", needs: str = "") -> Command:
    arguments = ("export", "{in}/model.safetensors", "--to", form, "-o", "{out}/" + writes)
    return Command(f"export --to {form}", arguments, writes, kind, needs)


COMMANDS = [
    command
    for command in (
        _export("torch", "torch.safetensors"),
        _export("onnx", "model.onnx", needs="onnx"),
        _export("word2vec", "vectors.txt"),
        _export("word2vec-binary", "vectors.bin"),
        _export("folder", "exported", "folder"),
        Command(
            "import",
            ("import", "{in}/state.safetensors", "--vocab", "{in}/words.txt", "-o", "{out}/imported.safetensors"),
            "imported.safetensors",
        ),
        Command("report", ("report", "{in}/run", "--text", "{in}/text.txt", "-o", "{out}/page.html"), "page.html"),
        Command("plot", ("plot", "{in}/run", "-o", "{out}/plot.svg"), "plot.svg", needs="matplotlib"),
        Command(
            "rescore --output",
            ("rescore", "{in}/model.safetensors", "{in}/a", "{in}/b", "--output", "{out}/lists"),
            "lists",
            "folder",
        ),
        Command("train", TRAIN, "run", "run"),
        Command("train --resume", (*TRAIN, "--resume"), "run", "run"),
    )
    if not command.needs or find_spec(command.needs)
]


class Workplace:
    """A folder with the inputs, and a fresh place for the output of one command."""

    def __init__(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        self.inputs, self.output, self.streams = folder / "watched/in", folder / "watched/out", folder / "streams"
        for place in (self.inputs, self.streams):
            place.mkdir(parents=True)
        self.watched = folder / "watched"
        rng = np.random.default_rng(0)
        text = "".join(" ".join(f"w{k}" for k in rng.integers(2, 11, 5)) + "\n" for _ in range(12))
        (self.inputs / "text.txt").write_text(text)
        for name in "ab":
            (self.inputs / name).write_text("-1 -1 2 w2 w3\n-2 -1 3 w4 w5 w6\n")
        (self.inputs / "words.txt").write_text("".join(f"{w}\t{c}\n" for w, c in zip(WORDS, COUNTS, strict=True)))
        safetensors.save_file(good_state_dict(), self.inputs / "state.safetensors")
        nplm.save(make_model(np.float32), self.inputs / "model.safetensors")
        config = nplm.TrainConfig(**SIZES | {"epochs": 1})
        nplm.train(make_model(np.float32, scale=0.3), toy(), config, save=self.inputs / "run")
        self.begun = folder / "begun"  # a run of one epoch, to go on with
        self.clear(None)
        code, _ = self.run(Command("begin", (*TRAIN, "--epochs", "1"), "run", "run"))
        assert code == 0
        (self.output / "run").rename(self.begun)
        self.before = contents(self.inputs)

    def clear(self, command: Command | None) -> None:
        """The output's place as it is before the command: with an old file, with a run, or empty."""
        shutil.rmtree(self.output, ignore_errors=True)
        self.output.mkdir()
        if command and command.kind == "file":
            (self.output / command.writes).write_bytes(OLD)
        elif command and command.name == "train --resume":
            shutil.copytree(self.begun, self.output / "run")

    def run(self, command: Command) -> tuple[int, str]:
        """The exit code and stderr of the command in this process."""
        line = [word.replace("{in}", str(self.inputs)).replace("{out}", str(self.output)) for word in command.arguments]
        kept = [os.dup(number) for number in (1, 2)]
        files = [self.streams / name for name in ("stdout", "stderr")]
        opened = [os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) for file in files]
        for number, descriptor in zip((1, 2), opened, strict=True):
            os.dup2(descriptor, number)
        try:
            main(line)
        except SystemExit as stop:
            code = int(stop.code or 0)
        finally:
            for number, descriptor in zip((1, 2), kept, strict=True):
                os.dup2(descriptor, number)
            for descriptor in (*kept, *opened):
                os.close(descriptor)
        return code, self.said()

    def said(self) -> str:
        """What the last command wrote to stderr."""
        return (self.streams / "stderr").read_text(errors="replace")


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder by its path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def verdict(place: Workplace, command: Command, new: dict[str, bytes], whole: Path, code: int, killed: bool) -> str:
    """What is wrong after a fault; "" where all is as promised.

    new: the output of the same command without a fault. whole: a run that nothing happened to.
    """
    said = place.said()
    if "Traceback" in said:
        return f"a traceback: {said[-500:]}"
    if not killed and code not in (0, 2):
        return f"exit code {code}: {said[-300:]}"
    if not killed and code == 2 and sum(line.startswith("nplm: error: ") for line in said.splitlines()) != 1:
        return f"not one line of error: {said[-500:]}"
    if contents(place.inputs) != place.before:
        return "an input was changed"
    if command.kind == "run":
        return verdict_of_run(place, command, whole, code, killed)
    found = contents(place.output)
    partial = {name for name in found if name.startswith(".") and ".partial" in name}
    rest = {name: data for name, data in found.items() if name not in partial}
    old = {command.writes: OLD} if command.kind == "file" else {}
    if rest not in (old, new):
        return f"neither the old nor the new: {sorted(rest)}"
    if not killed and code == 0 and rest != new:
        return "exit code 0, and nothing was written"
    return ""


def verdict_of_run(place: Workplace, command: Command, whole: Path, code: int, killed: bool) -> str:
    """The run's files are whole, and going on with it gives the bits of the run that nothing happened to."""
    folder = place.output / "run"
    if not killed and code == 0 and (odd := difference(folder, whole)):
        return f"exit code 0, and another run: {odd}"
    for path in folder.glob("*.safetensors"):
        nplm.load(path)
    resumes = (folder / "config.json").exists()
    plain = tuple(word for word in command.arguments if word != "--resume")
    again = command._replace(arguments=(*plain, "--resume") if resumes else plain)
    code, said = place.run(again)
    if code:
        return f"gone on with, exit code {code}: {said[-500:]}"
    odd = difference(folder, whole)
    return f"gone on with, another run: {odd}" if odd else ""
