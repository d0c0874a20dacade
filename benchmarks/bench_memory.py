"""How much memory do training and evaluation take at their peak, relative to what must be held?

    steps     make a model (LanguageModel.init) and train it on some chunks, by the step of nplm/training/loop.py
    evaluate  make a model and evaluate a text exactly
    train     nplm.train into a run folder for one short epoch; it ends with two models in memory, the one it
              trained in place and the best one, read back from its file
Each runs in a process of its own.  Peak: ru_maxrss of that process, less that of one that only imports the package
and loads its kernels.  `made`: the same peak when the model has just been made.  Held: parameters, optimiser state,
one chunk's gradient rows and activations, alias table and log q, vocabulary, text ids; each once.

    python benchmarks/bench_memory.py
"""

import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import _timing
from _tables import Section

TASKS = ("steps", "evaluate", "train")
VOCAB_SIZES = (100_000, 1_000_000)
STEPS = 20
TABLE = Section(
    "Memory",
    "Largest resident memory of a process in MB, minus that of a process that only loads the package. `created`: the"
    " same, just after the model was created. `held`: the memory that must be held, of which the larger parts are"
    " shown. 2 x 200 units.",
    "bench_memory.json",
    {
        "V": "vocab_size:,", "task": "task", "optimizer": "optimizer", "peak": "peak_mb:,.0f",
        "created": "made_mb:,.0f", "held": "held_mb:,.0f", "parameters": "held.parameters:,.0f",
        "vocabulary": "held.vocabulary:,.0f", "activations": "held.activations:,.0f", "peak / held": "ratio:.2f",
    },
    plots={"memory": "Peak memory of each task as bars, with the memory that must be held inside them."},
    command="python benchmarks/bench_memory.py",
)  # fmt: skip
SECTIONS = {"memory": TABLE}
MB = 1e6


def peak() -> float:
    """Largest resident memory of this process so far, in MB (10^6 bytes)."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MB


def child(task: str, shape_text: str, optimizer: str) -> dict[str, Any]:
    """What the process of one task finds out."""
    import numpy as np
    from _workload import OurTrainer, Shape, text, vocabulary, zipf

    import nplm
    from nplm.training.trainer import warm_up

    warm_up(np.float32, nplm.TrainConfig(optimizer=optimizer))
    if task == "import":
        return {"peak_mb": peak()}
    shape = Shape(*json.loads(shape_text))
    config = nplm.ModelConfig(shape.V, shape.E, shape.H, shape.L)
    model = nplm.LanguageModel.init(config, vocabulary(zipf(shape.V)), np.random.default_rng(1))
    made = peak()
    ids = text(shape.V, shape)
    found = {"made_mb": made, "tokens": ids.size}
    if task == "steps":
        trainer = OurTrainer(model, shape, ids, 2, optimizer=optimizer)
        with trainer.running():
            for _ in range(STEPS):
                trainer.step()
    elif task == "evaluate":
        nplm.evaluate(model, ids.ravel()[:2000], batch_size=shape.B)
    else:
        train_config = nplm.TrainConfig(
            bptt=shape.T, batch_size=shape.B, sequence_length=2 * shape.T, num_noise=shape.K, epochs=1,
            optimizer=optimizer, lr=1.0,
        )  # fmt: skip
        corpus = nplm.Corpus("zipf", model.vocabulary, ids.ravel())
        with tempfile.TemporaryDirectory() as folder:
            nplm.train(model, corpus, train_config, save=Path(folder) / "run")
    found["peak_mb"] = peak()
    return found | {"held": held(task, model, shape, ids, optimizer)}


def held(task: str, model: Any, shape: Any, ids: Any, optimizer: str) -> dict[str, float]:
    """MB that must be held, by what they are for."""
    import numpy as np

    tokens = model.vocabulary.tokens
    parameters = sum(value.nbytes for value in model.params.values())
    recurrent = sum(value.size for name, value in model.params.items() if name.startswith("rnn"))
    distinct = np.unique(ids[: shape.T + 1]).size
    per_position = shape.E + 7 * shape.H * shape.L  # x; gates, h, c and tanh c of each layer
    parts = {
        "parameters": parameters,
        "vocabulary": sum(map(sys.getsizeof, tokens))
        + sys.getsizeof(tokens)
        + sys.getsizeof(dict.fromkeys(tokens))
        + 28 * len(tokens)  # the dict's values: Python's integers
        + model.vocabulary.counts.nbytes,
        "text": ids.nbytes,
    }
    if task == "evaluate":
        parts["activations"] = 4 * 256 * (per_position + 1024)  # a window of positions, a block of words
    else:
        parts["optimizer"] = parameters if optimizer == "adagrad" else 0
        parts["gradients"] = 4 * (recurrent + distinct * shape.E + min(shape.V, distinct + shape.K) * (shape.H + 1))
        parts["activations"] = 4 * shape.tokens * (per_position + 4 * shape.H + shape.K + 1)  # da; NCE scores
        table = model.noise.table
        parts["noise"] = table.threshold.nbytes + table.alias.nbytes + model.log_q.nbytes
    return {name: size / MB for name, size in parts.items()}


def in_process(task: str, shape: tuple[int, ...], optimizer: str) -> dict[str, Any]:
    """The findings of a task's own process.  This one stays small: Linux hands its own peak down to the child."""
    command = [sys.executable, __file__, "--child", task, json.dumps(shape), optimizer]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(task: str, shape: tuple[int, ...], optimizer: str, baseline: float) -> dict[str, Any]:
    """A row."""
    found = in_process(task, shape, optimizer)
    row = {"task": task, "vocab_size": shape[-1], "shape": shape, "optimizer": optimizer}
    row |= {"baseline_mb": baseline, "tokens": found["tokens"]}
    row |= {"peak_mb": found["peak_mb"] - baseline, "made_mb": found["made_mb"] - baseline}
    row |= {"held": found["held"], "held_mb": sum(found["held"].values())}
    return row | {"ratio": row["peak_mb"] / row["held_mb"]}


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        print(json.dumps(child(*sys.argv[2:5])))
        return
    flags = _timing.parser(__doc__, threads=())
    flags.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    flags.add_argument("--vocab-sizes", nargs="+", type=int, default=list(VOCAB_SIZES), metavar="V")
    flags.add_argument("--optimizer", choices=["sgd", "adagrad"], default="sgd")
    arguments = _timing.parse(flags)
    in_process("import", (), arguments.optimizer)  # compiles, which takes more than loading
    baseline = in_process("import", (), arguments.optimizer)["peak_mb"]
    shapes = [(20, 20, 200, 200, 2, 100, vocab_size) for vocab_size in arguments.vocab_sizes]
    if arguments.quick:
        shapes = [(4, 5, 12, 12, 2, 8, 100)]
    rows = (measure(task, shape, arguments.optimizer, baseline) for shape in shapes for task in arguments.tasks)
    _timing.finish(arguments, "bench_memory", TABLE.show(rows))


if __name__ == "__main__":
    main()
