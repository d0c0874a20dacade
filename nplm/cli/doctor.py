"""`nplm doctor`: the facts that a bug report needs, and whether this machine is set up."""

import os
import platform
import shutil
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import click

from nplm._version import __version__

PACKAGES = ("numpy", "numba", "llvmlite", "click", "tqdm", "safetensors", "threadpoolctl")
PROBE_SECONDS = 0.3  # for each of the four probes

EPILOG = """\b
Examples:
  nplm doctor
  nplm doctor --json
"""


@click.command("doctor", epilog=EPILOG, short_help="Show versions, processor and folders, and test the speed.")
@click.option("--json", "as_json", is_flag=True, help="Results as JSON on stdout.")
def command(as_json: bool) -> int:
    """Show versions, processor, BLAS and folders, and run a speed test of about a second."""
    from nplm.cli.common import announce_kernels
    from nplm.cli.output import emit, say, show
    from nplm.data.cache import cache_folder

    announce_kernels()
    report: dict[str, Any] = {
        "versions": versions(),
        "machine": machine(),
        "blas": blas(),
        "kernel_cache": kernel_cache(),
        "text_cache": folder(cache_folder()),
        "speed": {
            "sgemm_gflops": sgemm_gflops(),
            "float32_gflops": product_gflops(bfloat16=False),
            "bfloat16_gflops": product_gflops(bfloat16=True),
            "train_tokens_per_second": train_tokens_per_second(),
        },
    }
    for name, part in report.items():
        rows = list(part.items()) if isinstance(part, dict) else [("", str(library)) for library in part]
        show(name.replace("_", " "), [(_label(key), _text(value)) for key, value in rows], as_json)
    for name in ("kernel_cache", "text_cache"):
        if not report[name]["writable"]:
            why = report[name].get("trouble") or "not writable"
            place = report[name]["path"] or "no folder"
            say(f"{name.replace('_', ' ')}: {place} ({why}): set NPLM_CACHE to a folder of your own")
    if as_json:
        emit(report)
    return 0


def versions() -> dict[str, str]:
    """Versions of Python, nplm and its dependencies."""
    found = {"python": platform.python_version(), "nplm": __version__}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "missing"
    return found


def machine() -> dict[str, Any]:
    """Processor, cores, and the vector width that the compiler uses."""
    from llvmlite import binding

    from nplm.layers.precision import bfloat16_maker, choose
    from nplm.threads import cores

    features = binding.get_host_cpu_features()
    widths = {"avx512f": 512, "avx2": 256, "avx": 256, "sse2": 128, "neon": 128}
    return {
        "system": platform.platform(),
        "processor": _processor() or platform.processor() or "unknown",
        "compiler_target": binding.get_host_cpu_name(),
        "vector_bits": next((bits for name, bits in widths.items() if features.get(name)), None),
        "bfloat16_flags": [flag for flag in ("avx512bf16", "amx-bf16") if features.get(flag)],
        "bfloat16_maker": bfloat16_maker(),
        "auto_precision": choose("auto", "float32", 200).precision,
        "cores": os.cpu_count(),
        "cores_for_this_process": cores(),
        "threads_set": os.environ.get("OMP_NUM_THREADS"),
    }


def blas() -> list[dict[str, Any]]:
    """The BLAS libraries that NumPy has loaded."""
    import numpy  # noqa: F401
    from threadpoolctl import threadpool_info

    keys = ("internal_api", "version", "architecture", "threading_layer", "num_threads")
    return [{key: pool.get(key) for key in keys} for pool in threadpool_info() if pool["user_api"] == "blas"]


def kernel_cache() -> dict[str, Any]:
    """The folder of compiled kernels, and if it is not used, why not."""
    from nplm.kernels._jit import CACHE_FOLDER, TROUBLE

    if CACHE_FOLDER is None:
        return {"path": None, "writable": False, "trouble": TROUBLE}
    found = folder(CACHE_FOLDER)
    return found | ({"trouble": TROUBLE, "writable": False} if TROUBLE else {})


def folder(path: Path) -> dict[str, Any]:
    """A folder's path, whether it is writable, and the free space on its disk."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            writable = True
    except OSError:
        writable = False
    there = next((place for place in (path, *path.parents) if place.is_dir()), Path("/"))
    return {"path": str(path), "writable": writable, "free_gigabytes": shutil.disk_usage(there).free / 1e9}


def sgemm_gflops(size: int = 768) -> float:
    """GFLOP/s of a float32 matrix product on one thread."""
    import numpy as np
    from threadpoolctl import threadpool_limits

    a = np.ones((size, size), np.float32)
    with threadpool_limits(1, user_api="blas"):
        return 2.0 * size**3 * _per_second(lambda: np.dot(a, a)) / 1e9


def product_gflops(bfloat16: bool, size: int = 480) -> float:
    """GFLOP/s of our own product on one thread: the tiles of a training step, right operand packed beforehand."""
    import numpy as np

    from nplm.layers.matmul import operand, pack_right, product
    from nplm.layers.workspace import Workspace

    a, room = np.ones((size, size), np.float32), Workspace()
    left, panels = operand(a, room, "left", bfloat16), pack_right(a, room, "right", bfloat16)
    out = np.empty_like(a)
    return 2.0 * size**3 * _per_second(lambda: product(left, panels, out)) / 1e9


def train_tokens_per_second() -> float:
    """Training speed at V = 5,000, E = H = 200, one layer, T = B = 20, K = 128, on random words."""
    from itertools import cycle

    import numpy as np

    from nplm.config import ModelConfig, TrainConfig
    from nplm.data.streams import Streams
    from nplm.data.vocabulary import Vocabulary
    from nplm.model import LanguageModel
    from nplm.training.trainer import Trainer, warm_up

    config, rng, size = TrainConfig(num_noise=128, lr=1.0), np.random.default_rng(1), 5000
    warm_up(np.float32, config)
    vocabulary = Vocabulary.from_counts({f"w{k}": size // k for k in range(1, size - 1)})
    model = LanguageModel.init(ModelConfig(size, num_layers=1), vocabulary, rng)
    tokens = config.batch_size * config.bptt
    ids = rng.integers(0, size, config.chunks * tokens, np.int32)
    trainer = Trainer(model, Streams(ids, config.batch_size), config)
    spans = cycle(trainer.spans)
    with trainer.threads():
        return tokens * _per_second(lambda: trainer.step(next(spans)))


def _per_second(work: Callable[[], object]) -> float:
    """How many times per second `work` can run."""
    work()
    begun, done = time.perf_counter(), 0
    while (spent := time.perf_counter() - begun) < PROBE_SECONDS:
        work()
        done += 1
    return done / spent


def _processor() -> str | None:
    """The processor's name, if the system provides it in a file."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), None)


def _label(key: str) -> str:
    return "bfloat16 computed with" if key == "bfloat16_maker" else key.replace("_", " ")


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "-"
    if isinstance(value, list):
        return ", ".join(value) or "-"
    return f"{value:,.1f}" if isinstance(value, float) else str(value)
