"""The peer: the same training step in PyTorch, as a good PyTorch user would write it for a CPU.

nn.Embedding with sparse gradients, nn.LSTM over the whole chunk, the same NCE with one group of noise words for the
chunk as one product (or the full softmax), sparse gradients for the decoder's rows, clipping by global norm over all
parameters, and SGD with the clip folded into the rate, so that dense gradients are read once.  Noise is drawn from the
cumulative distribution by bisection: torch.multinomial takes O(V) per call.

Ways that were tried and made no difference beyond the noise (2 x 200 units, one thread): logsigmoid or
binary_cross_entropy_with_logits for softplus, index_add_ for the sparse update, one look-up for noise and targets
together or two.  nn.LSTM's second bias is held at zero, so that the parameters are ours; that costs it nothing.
Under bfloat16 autocast the forward is in its context and the backward is not, as PyTorch advises; the carried state is
float32 either way.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import _workload
import numpy as np
import torch
import torch.nn.functional as F

from nplm.model import LanguageModel


class PeerTrainer(torch.nn.Module):
    """The interface of _workload.OurTrainer, in PyTorch.  It starts with a copy of the model's parameters."""

    def __init__(
        self,
        model: LanguageModel,
        shape: _workload.Shape,
        ids: np.ndarray,
        threads: int,
        objective: str = "nce",
        bfloat16: bool = False,
    ) -> None:
        super().__init__()
        self.bfloat16 = bfloat16
        self.objective, self.threads, self.num_noise = objective, threads, shape.K
        self.encoder = torch.nn.Embedding(shape.V, shape.E, sparse=True)
        self.rnn = torch.nn.LSTM(shape.E, shape.H, shape.L)
        self.decoder = torch.nn.Embedding(shape.V, shape.H, sparse=objective == "nce")  # looked up, not multiplied
        self.bias = torch.nn.Embedding(shape.V, 1, sparse=objective == "nce")
        self._load(model)
        self.log_kq = torch.from_numpy(np.log(shape.K) + model.noise.log_probs).float()  # (V,)
        self.cumulated = torch.from_numpy(model.noise.probs.cumsum())  # (V,) float64
        self.ids = torch.from_numpy(ids.astype(np.int64))  # (steps,B)
        self.state = (torch.zeros(shape.L, shape.B, shape.H),) * 2
        self.steps, self.chunk_number = shape.T, 0
        self.trained = [parameter for parameter in self.parameters() if parameter.requires_grad]

    def _load(self, model: LanguageModel) -> None:
        tensors = {name: torch.from_numpy(value) for name, value in model.params.items()}
        tensors["bias.weight"] = tensors.pop("decoder.bias")[:, None]  # (V,1)
        for k in range(model.config.num_layers):
            bias = tensors.pop(f"rnn.bias_l{k}")
            tensors |= {f"rnn.bias_ih_l{k}": bias, f"rnn.bias_hh_l{k}": torch.zeros_like(bias)}
            getattr(self.rnn, f"bias_hh_l{k}").requires_grad_(False)
        self.load_state_dict(tensors)

    def arrays(self) -> dict[str, np.ndarray]:
        """The parameters under our names."""
        named = {name: value.detach().numpy() for name, value in self.named_parameters()}
        named["decoder.bias"] = named.pop("bias.weight")[:, 0]
        return {name.replace("bias_ih", "bias"): named[name] for name in named if "bias_hh" not in name}

    @contextmanager
    def running(self) -> Iterator[None]:
        """Its threads; nobody else uses PyTorch, so they need not be put back."""
        torch.set_num_threads(self.threads)
        yield

    def step(self) -> float:
        """Train on the next chunk; returns the loss."""
        start = self.chunk_number % _workload.CHUNKS * self.steps
        self.chunk_number += 1
        draws = torch.rand(self.num_noise, dtype=torch.float64)
        noise_ids = torch.searchsorted(self.cumulated, draws).clamp_(max=len(self.cumulated) - 1)
        window = self.ids[start : start + self.steps + 1]
        return self.chunk(window[:-1], window[1:], noise_ids)

    def chunk(self, inputs: torch.Tensor, targets: torch.Tensor, noise_ids: torch.Tensor) -> float:
        """Train on this chunk; returns the loss."""
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16):
            hidden, after = self.rnn(self.encoder(inputs), self.state)  # (T,B,H)
            self.state = tuple(part.detach().float() for part in after)
            flat = hidden.view(-1, hidden.shape[2])  # (N,H)
            if self.objective == "nce":
                loss = self._nce(flat, targets.reshape(-1), noise_ids)
            else:
                scores = F.linear(flat, self.decoder.weight, self.bias.weight[:, 0])  # (N,V)
                loss = F.cross_entropy(scores, targets.reshape(-1))
        for parameter in self.trained:
            parameter.grad = None
        loss.backward()
        self._update()
        return float(loss.detach())

    def _nce(self, hidden: torch.Tensor, targets: torch.Tensor, noise_ids: torch.Tensor) -> torch.Tensor:
        words = torch.cat([noise_ids, targets])  # (K+N,)
        rows = self.decoder(words)  # (K+N,H)
        offsets = self.bias(words)[:, 0] - self.log_kq[words]  # (K+N,)
        num_noise = len(noise_ids)
        noise = torch.addmm(offsets[:num_noise], hidden, rows[:num_noise].T)  # (N,K)
        target = (hidden * rows[num_noise:]).sum(dim=1) + offsets[num_noise:]  # (N,)
        return (F.softplus(-target).sum() + F.softplus(noise).sum()) / len(targets)

    @torch.no_grad()
    def _update(self) -> None:
        """SGD, clipped by the norm over all parameters, sparse ones by their coalesced values."""
        grads = [p.grad.coalesce() if p.grad.is_sparse else p.grad for p in self.trained]
        values = [grad.values() if grad.is_sparse else grad for grad in grads]
        norm = torch.stack([torch.linalg.vector_norm(value) for value in values]).norm().item()
        rate = _workload.LR * min(1.0, _workload.CLIP / norm) if norm > 0 else _workload.LR
        for parameter, grad in zip(self.trained, grads, strict=True):
            parameter.add_(grad, alpha=-rate)
