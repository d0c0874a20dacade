"""The same model in PyTorch, in float64.  Oracle: its layers, its autograd, its optimiser, its state dict."""

import numpy as np
import pytest
from conftest import assert_close, make_chunk, make_model

from nplm.layers import softmax
from nplm.network import hidden_states
from nplm.storage.checkpoint import save_model
from nplm.training.optim import EPSILON, Optimizer

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install nplm-nce[torch]")


class Peer(torch.nn.Module):
    """PyTorch's word_language_model, without dropout."""

    def __init__(self, config, dtype=torch.float64):
        super().__init__()
        self.encoder = torch.nn.Embedding(config.vocab_size, config.embed_dim, dtype=dtype)
        self.rnn = torch.nn.LSTM(config.embed_dim, config.hidden_dim, config.num_layers, dtype=dtype)
        self.decoder = torch.nn.Linear(config.hidden_dim, config.vocab_size, dtype=dtype)

    def forward(self, inputs, state):
        """Scores (T,B,V) and the state after the chunk."""
        hidden, after = self.rnn(self.encoder(tensor(inputs)), tuple(map(tensor, state)))
        return self.decoder(hidden), after


def tensor(array):
    """A copy of the array, as PyTorch's; ids become int64."""
    array = np.array(array)
    return torch.from_numpy(array.astype(np.int64) if array.dtype == np.int32 else array)


def torch_name(name):
    """PyTorch's name of a parameter; the one bias of a layer is its bias_ih."""
    return name.replace("rnn.bias_l", "rnn.bias_ih_l")


def peer_of(model):
    """The model in PyTorch, its tensors loaded strictly."""
    peer = Peer(model.config)
    tensors = {torch_name(name): tensor(value) for name, value in model.params.items()}
    for k in range(model.config.num_layers):
        tensors[f"rnn.bias_hh_l{k}"] = torch.zeros_like(tensors[f"rnn.bias_ih_l{k}"])
    peer.load_state_dict(tensors, strict=True)
    return peer


def peer_gradient(peer, name):
    """autograd's gradient under our name."""
    return peer.get_parameter(torch_name(name)).grad.numpy()


def nce_loss(scores, targets, noise_ids, log_q):
    """NCE as printed, on scores (T,B,V): every draw by itself."""
    delta = scores - np.log(len(noise_ids)) - tensor(log_q)
    target = torch.gather(delta, 2, tensor(targets)[..., None])[..., 0]
    noise = delta[..., tensor(noise_ids)]
    terms = torch.nn.functional.softplus(-target) + torch.nn.functional.softplus(noise).sum(dim=-1)
    return terms.mean()


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_autograd(layers):
    """torch.autograd to 1e-10: loss, state, and the gradient of embedding, every layer, decoder weight and bias."""
    model = make_model(layers=layers, power=0.75, uniform=0.1)
    inputs, targets, noise_ids, state = chunk = make_chunk(model)
    peer = peer_of(model)
    scores, (h, c) = peer(inputs, state)
    expected = nce_loss(scores, targets, noise_ids, model.noise.log_probs)
    expected.backward()
    loss, grads, after = model.loss_and_grads(*chunk)
    assert loss == pytest.approx(expected.item(), rel=1e-12)
    for name, grad in grads.items():
        assert_close(grad, peer_gradient(peer, name), 1e-10)
    assert_close(after.h, h.detach().numpy(), 1e-12)
    assert_close(after.c, c.detach().numpy(), 1e-12)


def test_softmax():
    """torch.nn.functional.cross_entropy and log_softmax: loss, gradients and log-probabilities."""
    model = make_model(layers=1)
    inputs, targets, _, state = make_chunk(model)
    peer = peer_of(model)
    hidden = tensor(hidden_states(model.network(), inputs, state)[0].reshape(15, 6)).requires_grad_()
    scores = peer.decoder(hidden)
    expected = torch.nn.functional.cross_entropy(scores, tensor(targets).ravel())
    expected.backward()
    weight, bias = model.params["decoder.weight"], model.params["decoder.bias"]
    loss, cache = softmax.forward(hidden.detach().numpy(), targets.ravel(), weight, bias, 1 / 15)
    dhidden, dweight, dbias = softmax.backward(cache, weight)
    assert loss == pytest.approx(expected.item(), rel=1e-12)
    assert_close(dhidden, hidden.grad.numpy(), 1e-10)
    assert_close(dweight, peer_gradient(peer, "decoder.weight"), 1e-10)
    assert_close(dbias, peer_gradient(peer, "decoder.bias"), 1e-10)
    logp = torch.log_softmax(scores, dim=-1).detach().numpy()
    assert_close(model.log_probs(inputs, state)[0].reshape(15, 11), logp, 1e-12)


@pytest.mark.parametrize("kind", ["sgd", "adagrad"])
def test_optimiser(kind):
    """torch.optim.SGD and Adagrad, three steps on the same chunk, from the same start."""
    model = make_model(layers=1)
    inputs, targets, noise_ids, state = chunk = make_chunk(model)
    peer = peer_of(model)
    parameters = [peer.get_parameter(torch_name(name)) for name in model.params]  # bias_hh stays zero
    if kind == "sgd":
        theirs = torch.optim.SGD(parameters, lr=0.3)
    else:
        theirs = torch.optim.Adagrad(parameters, lr=0.3, eps=EPSILON)
    ours = Optimizer(model.params, kind, np.inf)
    for _ in range(3):
        ours.update(model.params, model.loss_and_grads(*chunk)[1], 0.3, 1.0)
        theirs.zero_grad()
        nce_loss(peer(inputs, state)[0], targets, noise_ids, model.noise.log_probs).backward()
        theirs.step()
    for name, value in model.params.items():
        assert_close(value, peer.get_parameter(torch_name(name)).detach().numpy(), 1e-10)


def test_a_saved_model_loads_strictly(tmp_path):
    """load_state_dict(strict=True) of every tensor in the file but `vocabulary`: the same log-probabilities."""
    from safetensors.torch import load_file

    model = make_model(np.float32)
    save_model(model, tmp_path / "model.safetensors")
    tensors = load_file(tmp_path / "model.safetensors")
    assert bytes(tensors.pop("vocabulary").numpy()) == model.vocabulary.to_bytes()
    peer = Peer(model.config, torch.float32)
    peer.load_state_dict(tensors, strict=True)
    inputs, _, _, state = make_chunk(model)
    with torch.no_grad():
        expected = torch.log_softmax(peer(inputs, state)[0], dim=-1).numpy()
    assert_close(model.log_probs(inputs, state)[0], expected, 2e-6)
