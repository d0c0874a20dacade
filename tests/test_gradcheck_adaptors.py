"""The same call checks other libraries' layers.  Oracle: derivatives by hand, and the source of pinned versions."""

import collections
import collections.abc
import warnings
from importlib import import_module
from importlib.metadata import version
from types import SimpleNamespace

import numba
import numpy as np
import pytest

from nplm.gradcheck import check, check_layer
from nplm.reference import nce

X = np.random.default_rng(0).normal(size=(4, 3))


def load(package, distribution=None, pinned=None):
    """A package, imported without its warnings; skips the test where it, or the pinned version, is absent."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = pytest.importorskip(package)
    if pinned is not None and version(distribution) != pinned:
        pytest.skip(f"the faults are those of {distribution} {pinned}")
    return module


@pytest.mark.parametrize("factor", [3, 2])
def test_torch_autograd_function(factor):
    """x^3, whose derivative is 3 x^2 and not 2 x^2."""
    torch = load("torch")

    class Cube(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        def backward(ctx, dy):
            (x,) = ctx.saved_tensors
            return dy * factor * x**2

    def forward(x):
        x = torch.tensor(x, requires_grad=True)
        y = Cube.apply(x)
        return y.detach().numpy(), (x, y)

    def backward(dy, cache):
        x, y = cache
        (dx,) = torch.autograd.grad(y, x, torch.from_numpy(dy))
        return dx.numpy()

    report = check_layer(forward, backward, X, raises=False)
    assert report.ok == (factor == 3) and report.method == "complex step"
    assert report.ok or "0.666666667 times" in report["x"].pattern.text


@pytest.mark.parametrize("factor", [1, -1])
def test_jax_custom_vjp(factor):
    """log(1 + e^x), whose derivative is the sigmoid and not minus the sigmoid."""
    jax = load("jax")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")

        @jax.custom_vjp
        def softplus(x):
            return jax.numpy.log1p(jax.numpy.exp(x))

        softplus.defvjp(lambda x: (softplus(x), x), lambda x, dy: (factor * dy / (1 + jax.numpy.exp(-x)),))
        report = check_layer(
            lambda x: np.asarray(softplus(x)),
            lambda dy, x: np.asarray(jax.vjp(softplus, x)[1](jax.numpy.asarray(dy))[0]),
            X.astype(np.float32),  # what JAX computes in
            raises=False,
        )
    assert report.ok == (factor == 1)
    assert report.ok or report["x"].pattern.kind == "sign"


@pytest.mark.parametrize("typed", [False, True], ids=["any type", "float64 only"])
@pytest.mark.parametrize("right", [True, False])
def test_numba_kernel(typed, right):
    """A running product, with the complex step where the kernel takes complex numbers; a gradient that stops early."""

    def running(x, out):
        total = x.dtype.type(1)
        for k in range(x.size):
            total = total * x[k]
            out[k] = total

    kernel = numba.njit("(float64[::1], float64[::1])" if typed else None)(running)

    def forward(x):
        out = np.empty_like(x)
        kernel(x, out)
        return out, (x, out)

    def backward(dy, cache):
        x, out = cache
        dx = np.cumsum((dy * out)[::-1])[::-1] / x
        if not right:
            dx[0] = 0
        return dx

    report = check_layer(forward, backward, X[:, 0] + 2, raises=False)
    assert report.ok == right and report.method.startswith("central" if typed else "complex")
    assert right or report["x"].pattern.kind == "first step"


def test_the_lstm_of_thinc():
    """thinc 9.1.1: the loop over the steps stops before t = 0, and W_h gets h_t in place of h_{t-1}."""
    thinc = load("thinc.api", "thinc", "9.1.1")
    ops, rng = thinc.NumpyOps(), np.random.default_rng(0)
    steps, batch, inputs, hidden = 5, 2, 3, 2
    zero, lengths = np.zeros((1, 1, hidden), "f"), np.full(steps, batch, "i")
    shapes = {"W_x": (4 * hidden, inputs), "b_x": (4 * hidden,), "W_h": (4 * hidden, hidden), "b_h": (4 * hidden,)}
    weights = {name: rng.normal(size=shape).astype("f") for name, shape in shapes.items()}

    def forward(x, weights):
        flat = np.concatenate([weight.ravel() for weight in weights.values()])
        out, state = ops.lstm_forward_training(flat, zero, zero, x.reshape(-1, inputs), lengths)
        return out.reshape(steps, batch, hidden), (flat, state)

    def backward(dout, cache):
        dx, dflat = ops.backprop_lstm(dout.reshape(-1, hidden), lengths, *cache)
        sizes = np.cumsum([np.prod(shape) for shape in shapes.values()])[:-1]
        parts = [part.reshape(shape) for part, shape in zip(np.split(dflat, sizes), shapes.values(), strict=True)]
        return dx.reshape(steps, batch, inputs), dict(zip(shapes, parts, strict=True))

    x = rng.normal(size=(steps, batch, inputs)).astype("f")
    report = check_layer(forward, backward, x, weights, raises=False)
    assert {array.name for array in report.arrays if not array.ok} == {"x", *(f"weights.{name}" for name in shapes)}
    wrong = report["x"]
    assert wrong.pattern.kind == "first step" and not wrong.got[0].any() and wrong.wrong[0].sum() >= 5
    assert not wrong.wrong[1:].any()  # dx is right from t = 1 on
    assert report["weights.b_h"].pattern.kind == "missing"  # b_h is added to b_x, so its gradient is the same
    for name in ("W_x", "W_h", "b_x"):  # the state carried in is 0: W_h misses nothing at t = 0, its h is the wrong one
        assert report[f"weights.{name}"].wrong.mean() > 0.8


def test_the_nce_loss_of_numpy_ml():
    """numpy-ml 0.1.2: a target that is also noise loses its own gradient, all else is right; the loss lacks log K."""
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")
        patch.setattr(collections, "Hashable", collections.abc.Hashable, raising=False)
        pytest.importorskip("numpy_ml")
        losses = import_module("numpy_ml.neural_nets.losses")
    if version("numpy-ml") != "0.1.2":
        pytest.skip("the faults are those of numpy-ml 0.1.2")
    rng = np.random.default_rng(0)
    vocabulary, num_noise, width = 9, 4, 3
    sampler = SimpleNamespace(probs=rng.dirichlet(np.ones(vocabulary)))
    params = {
        "hidden": rng.normal(size=(5, 1, width)),
        "weight": rng.normal(size=(vocabulary, width)),
        "bias": rng.normal(size=(1, vocabulary)),
    }
    target = np.array([2, 4, 6, 7, 0])

    def objective(p):
        objective = losses.NCELoss(vocabulary, sampler, num_noise)
        objective.n_in = width
        objective._init_params()
        objective.parameters = {"W": p["weight"], "b": p["bias"]}
        return objective

    def verdict(noise):
        def loss(p):
            return objective(p).loss(p["hidden"], target, noise)[0]

        def grads(p):
            module = objective(p)
            module.loss(p["hidden"], target, noise)
            dhidden = module.grad(update_params=False)
            return {"hidden": dhidden, "weight": module.gradients["W"], "bias": module.gradients["b"]}

        return loss(params), check(loss, params, grads, raises=False)

    value, without_hits = verdict(np.array([1, 3, 3, 8]))
    assert without_hits.ok and without_hits.method == "complex step"
    flat = params["hidden"][:, 0]
    log_q, bias = np.log(sampler.probs), params["bias"][0]
    noise = np.array([1, 3, 3, 8])
    ours = nce.forward(flat, target, noise, params["weight"], bias, log_q)
    shifted = nce.forward(flat, target, noise, params["weight"], bias, log_q - np.log(num_noise))
    np.testing.assert_allclose(value / 5, shifted, rtol=1e-12)  # our loss with K q replaced by q
    assert abs(value / 5 - ours) > 0.1

    _, with_hit = verdict(np.array([1, 2, 3, 8]))
    assert with_hit["hidden"].ok
    for name, index in (("weight", (2, slice(None))), ("bias", (0, 2))):
        wrong = np.zeros(params[name].shape, bool)
        wrong[index] = True
        np.testing.assert_array_equal(with_hit[name].wrong, wrong)
        assert "only ids that occur both in" in with_hit[name].pattern.text
