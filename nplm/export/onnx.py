"""Export to ONNX.  The state is an input and an output, so that a text can be read in pieces of any length.

input      (T,B) int64     word ids
h, c       (L,B,H)         state before the first word
log_probs  (T,B,V)         exact log softmax, nats
h_out, c_out  (L,B,H)      state after the last word
T and B are dynamic.  Numbers are float32 (onnxruntime has no LSTM in float64).  Metadata: config, unit, vocabulary.
"""

from pathlib import Path
from typing import Any

import numpy as np

from nplm import atomic, optional
from nplm._version import __version__
from nplm.arrays import Array
from nplm.errors import InputError
from nplm.export.torch import metadata
from nplm.model import LanguageModel
from nplm.storage.checkpoint import torch_tensors

OPSET, IR_VERSION = 17, 8  # of 2022: read by onnxruntime 1.12 and later
LARGEST = 2**31 - 2**20  # bytes of the arrays: a protobuf message is limited to 2 GiB
GATES = [0, 3, 1, 2]  # ONNX's i o f c from PyTorch's i f g o


def to_onnx(model: LanguageModel, path: str | Path) -> None:
    """Write the model as an ONNX graph.  Raises InputError if `onnx` is missing, or the model is too large for it."""
    onnx = optional.load("onnx", "onnx", "exporting to ONNX")
    size = 4 * sum(value.size for value in model.params.values())
    if size > LARGEST:
        raise InputError(
            f"{path}: the model takes {size / 1e9:.1f} GB in float32, but an ONNX file holds 2.1 GB;"
            " export it to torch or folder"
        )
    atomic.write(path, [_graph(onnx, model).SerializeToString()])


def _graph(onnx: Any, model: LanguageModel) -> Any:
    config, helper = model.config, onnx.helper
    arrays, nodes = _arrays(model), _nodes(helper, config.num_layers, config.hidden_dim)
    state: list[str | int] = [config.num_layers, "B", config.hidden_dim]
    number, whole = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64
    inputs: list[tuple[Any, ...]] = [("input", whole, ["T", "B"]), ("h", number, state), ("c", number, state)]
    outputs: list[tuple[Any, ...]] = [("log_probs", number, ["T", "B", config.vocab_size])]
    outputs += [("h_out", number, state), ("c_out", number, state)]
    graph = helper.make_graph(
        nodes,
        "nplm",
        [helper.make_tensor_value_info(*value) for value in inputs],
        [helper.make_tensor_value_info(*value) for value in outputs],
        [onnx.numpy_helper.from_array(value, name) for name, value in arrays.items()],
    )
    made = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="nplm",
        producer_version=__version__,
    )
    about = metadata(model)
    del about["format"]
    helper.set_model_props(made, about | {"vocab_size": str(config.vocab_size)})
    return made


def _arrays(model: LanguageModel) -> dict[str, Array]:
    """The graph's constants, in the order and shape that its operators expect."""
    tensors = {name: value.astype(np.float32, copy=False) for name, value in torch_tensors(model).items()}
    arrays = {"encoder.weight": tensors["encoder.weight"], "decoder.bias": tensors["decoder.bias"]}
    arrays["decoder.weight.T"] = np.ascontiguousarray(tensors["decoder.weight"].T)  # (H,V)
    arrays["one"] = np.array([1], np.int64)
    for k in range(model.config.num_layers):
        for name in ("weight_ih", "weight_hh"):
            arrays[f"rnn.{name}_l{k}"] = _gates(tensors[f"rnn.{name}_l{k}"])[None]  # (1,4H,D)
        biases = [_gates(tensors[f"rnn.{name}_l{k}"]) for name in ("bias_ih", "bias_hh")]
        arrays[f"rnn.bias_l{k}"] = np.concatenate(biases)[None]  # (1,8H)
    return arrays


def _gates(value: Array) -> Array:
    """Rows (4H,...) in ONNX's order of the gates."""
    blocks = value.reshape(4, -1, *value.shape[1:])  # (4,H,...)
    return blocks[GATES].reshape(value.shape)


def _nodes(helper: Any, layers: int, hidden_dim: int) -> list[Any]:
    """Operators, in the order of execution: x0 (T,B,E), x1 ... (T,B,H), scores (T,B,V)."""
    make = helper.make_node
    nodes = [make("Gather", ["encoder.weight", "input"], ["x0"], axis=0)]
    for name in ("h", "c"):  # (L,B,H) -> L times (1,B,H)
        nodes.append(make("Split", [name], [f"{name}{k}" for k in range(layers)], axis=0))
    for k in range(layers):
        weights = [f"rnn.{name}_l{k}" for name in ("weight_ih", "weight_hh", "bias")]
        inputs = [f"x{k}", *weights, "", f"h{k}", f"c{k}"]
        outputs = [f"y{k}", f"h{k}_out", f"c{k}_out"]  # (T,1,B,H), (1,B,H), (1,B,H)
        nodes.append(make("LSTM", inputs, outputs, hidden_size=hidden_dim))
        nodes.append(make("Squeeze", [f"y{k}", "one"], [f"x{k + 1}"]))
    for name in ("h", "c"):
        nodes.append(make("Concat", [f"{name}{k}_out" for k in range(layers)], [f"{name}_out"], axis=0))
    nodes.append(make("MatMul", [f"x{layers}", "decoder.weight.T"], ["products"]))
    nodes.append(make("Add", ["products", "decoder.bias"], ["scores"]))
    nodes.append(make("LogSoftmax", ["scores"], ["log_probs"], axis=-1))
    return nodes
