"""Readers of state_dicts of other programs, and of the package's own cache of compiled kernels."""

import hashlib
import io
import pickle
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import numpy as np
from conftest import make_model
from hostile import mutate
from hostile.binary import FLOATS
from hostile.reader import Reader
from safetensors import numpy as safetensors

from nplm.errors import InputError
from nplm.export import from_torch, read_state_dict
from nplm.kernels import _cache
from nplm.storage import checkpoint

WORDS = ["a", "</s>", "b", "<unk>", *(f"w{k}" for k in range(7))]
COUNTS = [5 * k + 3 for k in range(11)]


def good_state_dict() -> dict[str, Any]:
    """The parameters of an LSTM of PyTorch's word_language_model, with V = 11, E = 4, H = 6, L = 2."""
    return {name: np.array(value) for name, value in checkpoint.torch_tensors(make_model(np.float32)).items()}


def assert_is_imported(model: Any, arrays: dict[str, Any]) -> None:
    """Every row of the model is the row of its word in the arrays; the biases are sums."""
    head = next(name for name in arrays if name.endswith("encoder.weight")).removesuffix("encoder.weight")
    arrays = {name.removeprefix(head): value for name, value in arrays.items()}
    assert sorted(model.vocabulary.tokens) == sorted(WORDS)
    for name in ("encoder.weight", "decoder.weight", "decoder.bias"):
        rows = np.asarray(arrays.get(name, np.zeros(len(WORDS))))
        for place, word in enumerate(model.vocabulary.tokens):
            np.testing.assert_array_equal(model.params[name][place], rows[WORDS.index(word)].astype(model.dtype))
    for name, value in model.params.items():
        assert value.dtype in FLOATS and np.isfinite(value).all()
        if name.startswith("rnn.bias"):
            parts = [arrays.get(name.replace("bias_l", f"bias_{which}_l")) for which in ("ih", "hh")]
            total = sum((part.astype(model.dtype) for part in parts if part is not None), np.zeros_like(value))
            np.testing.assert_allclose(value, total, rtol=1e-6)
        elif name.startswith("rnn."):
            np.testing.assert_array_equal(value, arrays[name].astype(model.dtype))
    placed = len(model.params) + 2 * model.config.num_layers  # a layer has two biases there
    assert len(arrays) <= placed, "an array was ignored"


class StateDicts(Reader):
    """A state_dict in safetensors, or given as arrays."""

    name = "state_dict (safetensors)"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.path, self.good = folder / "state.safetensors", good_state_dict()

    def trial(self, rng: Random) -> None:
        arrays = mutate.of_tensors(rng, self.good) if rng.randrange(4) else dict(self.good)
        if rng.randrange(6) == 0:
            arrays = {f"module.{name}": value for name, value in arrays.items()}
        metadata = rng.choice(
            (
                None,
                {"format": "pt"},
                {"vocabulary": mutate.of_lines(rng, "\n".join(WORDS), "\t").encode("utf-8", "replace").decode()},
            )
        )
        data = safetensors.save({n: np.ascontiguousarray(v) for n, v in arrays.items()}, metadata)
        data = mutate.of_bytes(rng, data) if rng.randrange(3) == 0 else data
        self.path.write_bytes(data)
        found, words = read_state_dict(self.path)
        expected = safetensors.load(data)
        kept = {name: value for name, value in found.items() if name in expected}
        assert kept.keys() == expected.keys()
        for name, value in expected.items():
            assert value.dtype == kept[name].dtype and value.tobytes() == kept[name].tobytes(), name
        assert words is None or len(set(words.words)) == len(words.words)
        assert_is_imported(from_torch(found, WORDS, COUNTS), found)


class TorchFiles(Reader):
    """What torch.save wrote: a state_dict, other things, and damaged files."""

    name = "state_dict (torch.save)"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        import torch

        self.torch, self.path = torch, folder / "state.pt"
        self.good = {name: torch.from_numpy(value) for name, value in good_state_dict().items()}

    def trial(self, rng: Random) -> None:
        tensors: dict[Any, Any] = dict(self.good)
        for _ in range(rng.randrange(3)):
            name = rng.choice(sorted(map(str, tensors)))
            tensors[name] = self._odd(rng, self.good.get(name))
        if rng.randrange(10) == 0:
            tensors[rng.choice((3, b"x", ("a",)))] = self.good["decoder.bias"]
        buffer = io.BytesIO()
        self.torch.save(rng.choice((tensors, tensors, tensors, list(tensors), {"model": tensors})), buffer)
        data = mutate.of_bytes(rng, buffer.getvalue()) if rng.randrange(3) == 0 else buffer.getvalue()
        self.path.write_bytes(data)
        found, _ = read_state_dict(self.path)
        if data == buffer.getvalue():
            for name, value in found.items():
                expected = tensors[name]
                assert tuple(expected.shape) == value.shape, name
                dense = expected.detach().to_dense() if expected.is_sparse else expected.detach()
                dense = dense.dequantize() if dense.is_quantized else dense
                np.testing.assert_array_equal(dense.to(self.torch.complex128).numpy(), value.astype(np.complex128))
        assert_is_imported(from_torch(found, WORDS, COUNTS), found)

    def _odd(self, rng: Random, value: Any) -> Any:
        """A tensor of another kind in the place of one, or what is no tensor."""
        torch = self.torch
        value = self.good["decoder.bias"] if value is None else value
        makers = (
            lambda: value.half(), lambda: value.bfloat16(), lambda: value.double(), lambda: value.int(),
            lambda: value.clone().requires_grad_(), lambda: value.to_sparse(), lambda: value.to("meta"),
            lambda: torch.quantize_per_tensor(value, 0.1, 0, torch.qint8), lambda: value * float("nan"),
            lambda: value[:0], lambda: value.t() if value.ndim == 2 else value[::2], lambda: value.to(torch.complex64),
            lambda: value > 0, lambda: None, lambda: 3.5, lambda: [1.0], lambda: "text", lambda: value.numpy(),
            lambda: value.conj(), lambda: torch.nn.Parameter(value), lambda: value[None], lambda: value.sum(),
        )  # fmt: skip
        return rng.choice(makers)()


class Target(NamedTuple):
    """What KernelCache asks of Numba: nothing is compiled here."""

    magic: tuple[str, ...] = ("triple", "processor", "features")

    def refresh(self) -> None:
        """Numba's registries are of no concern."""

    def codegen(self) -> "Target":
        return self

    def magic_tuple(self) -> tuple[str, ...]:
        return self.magic


class Kernels(Reader):
    """A file of the kernel cache: what was kept, or nothing, and never an error."""

    name = "kernel cache"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.cache = _cache.KernelCache(good_state_dict, folder)
        self.key = self.cache._key("signature", Target())
        self.path = self.cache._path(self.key)

    def trial(self, rng: Random) -> None:
        parts = tuple(rng.randbytes(8) for _ in range(3))
        key = self.key if rng.randrange(4) else ("other", *self.key[1:])
        content = pickle.dumps((key, parts))
        if rng.randrange(6) == 0:
            content = content[: rng.randrange(len(content))]  # a right checksum over half a pickle
        whole = hashlib.sha256(content).digest() + content
        data = mutate.of_bytes(rng, whole) if rng.randrange(2) else whole
        self.path.write_bytes(data)
        _cache.warn.cache_clear()
        real, _cache._rebuild = _cache._rebuild, lambda target, *parts: parts
        try:
            got = self.cache.load_overload("signature", Target())
        finally:
            _cache._rebuild = real
        right = hashlib.sha256(data[32:]).digest() == data[:32]
        if got is None:
            assert not (right and data == whole and key == self.key and content == pickle.dumps((key, parts)))
            raise InputError("made again")
        assert right and got == parts and key == self.key, "something else was taken for a kernel"
