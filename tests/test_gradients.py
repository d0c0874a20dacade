"""Every entry of every gradient through a whole chunk.  Oracle: the complex step of reference.model.loss."""

from typing import NamedTuple

import numpy as np
import pytest
from conftest import Chunk, make_chunk, make_model

from nplm.gradcheck import check, complex_step, relative_error
from nplm.model import LanguageModel
from nplm.reference import model as reference

CONFIGURATIONS = 200
FLOOR = 1e-15  # of a gradient whose entries are about 0.1: a few roundings


class Case(NamedTuple):
    """A random configuration: a model, a chunk of text and noise, a state that is not zero."""

    model: LanguageModel
    chunk: Chunk


def random_case(seed: int) -> Case:
    """Shapes at random: L from 1 to 3, every other dimension from 1 up; q the unigram or not.

    Every noise group with K >= 2 holds a target, with K >= 3 a word twice (make_chunk).
    """
    rng = np.random.default_rng([19, seed])
    steps, batch, embed, hidden = (int(d) for d in rng.integers(1, 5, 4))
    model = make_model(
        seed=seed,
        vocab=int(rng.integers(2, 9)),
        embed=embed,
        hidden=hidden,
        layers=1 + seed % 3,
        scale=float(rng.uniform(0.2, 1.5)),
        power=float(rng.choice([1.0, 0.75, 0.0])),
        uniform=float(rng.choice([0.0, 0.2])),
    )
    return Case(model, make_chunk(model, seed, steps, batch, noise=int(rng.integers(1, 10))))


def check_entries(loss, params, grads) -> None:
    """Every entry, by the public checker, with nothing allowed on top of rounding.

    The checker's resolution is relative to the entries of an array.  Where all of them are 0 in exact arithmetic, the
    fast gradient may have 6e-19, hence the absolute FLOOR.
    """
    assert set(grads) == set(params)
    report = check(loss, params, {name: np.asarray(grad) for name, grad in grads.items()}, atol=FLOOR)
    assert "complex step" in report.method and all(array.checked == array.expected.size for array in report.arrays)


def check_both(case: Case) -> None:
    """The fast gradient, and the reference's by hand, against the complex step."""
    inputs, targets, noise_ids, (h0, c0) = case.chunk
    params, given = case.model.params, (inputs, targets, noise_ids, h0, c0, case.model.noise.log_probs)
    for grads in (case.model.loss_and_grads(*case.chunk)[1], reference.gradients(params, *given)):
        check_entries(lambda point: reference.loss(point, *given), params, grads)


@pytest.mark.parametrize("seed", range(CONFIGURATIONS))
def test_gradients(seed):
    """The complex step of reference.model.loss: the fast gradient and the one by hand, entry by entry."""
    check_both(random_case(seed))


def test_gradients_where_all_shapes_differ():
    """The complex step at T=5, B=3, E=4, H=6, V=11, K=7: no transposed shape can pass for another."""
    model = make_model()
    check_both(Case(model, make_chunk(model)))


def test_the_configurations_hold_what_they_should():
    """A count over the same cases: repeats, targets among the noise, every number of layers, every 1-sized edge."""
    cases = [random_case(seed) for seed in range(CONFIGURATIONS)]
    repeated = [np.unique(chunk.noise_ids).size < chunk.noise_ids.size for _, chunk in cases]
    hits = [np.isin(chunk.targets, chunk.noise_ids).any() for _, chunk in cases]
    assert sum(repeated) > 120 and sum(hits) == CONFIGURATIONS
    assert sum(a and b for a, b in zip(repeated, hits, strict=True)) > 120
    for layers in (1, 2, 3):
        assert sum(model.config.num_layers == layers for model, _ in cases) > 60
    edges = {
        "T": [chunk.inputs.shape[0] for _, chunk in cases],
        "B": [chunk.inputs.shape[1] for _, chunk in cases],
        "E": [model.config.embed_dim for model, _ in cases],
        "H": [model.config.hidden_dim for model, _ in cases],
        "K": [chunk.noise_ids.size for _, chunk in cases],
    }
    for name, sizes in edges.items():
        assert min(sizes) == 1 and max(sizes) >= 4, name
    assert min(model.config.vocab_size for model, _ in cases) == 2


@pytest.mark.parametrize("factor", [1e-7, 1e-9])
def test_the_check_is_sharp(factor):
    """A gradient with one entry off by 1e-7 or 1e-9 of the largest one does not pass."""
    case = random_case(5)
    inputs, targets, noise_ids, (h0, c0) = case.chunk
    given = (inputs, targets, noise_ids, h0, c0, case.model.noise.log_probs)
    grads = reference.gradients(case.model.params, *given)
    grads["rnn.weight_hh_l1"].flat[0] += factor * np.abs(grads["rnn.weight_hh_l1"]).max()
    with pytest.raises(AssertionError, match=r"rnn.weight_hh_l1: .*\n.*1 of"):
        check_entries(lambda point: reference.loss(point, *given), case.model.params, grads)


def test_complex_step_of_a_known_function():
    """Calculus: d/dx sum x^3 = 3 x^2 and d/dy sum exp(sin y) = cos(y) exp(sin y)."""
    point = {"x": np.array([[1.5, -0.3]]), "y": np.array([0.7])}
    got = complex_step(lambda p: (p["x"] ** 3).sum() + np.exp(np.sin(p["y"])).sum(), point)
    np.testing.assert_allclose(got["x"], 3 * point["x"] ** 2, rtol=1e-15)
    np.testing.assert_allclose(got["y"], np.cos(0.7) * np.exp(np.sin(0.7)), rtol=1e-15)


def test_relative_error():
    """By hand: over the largest entry expected; absolute where all are zero; infinite for NaN; shapes must agree."""
    assert relative_error([1.0, 2.5], [1.0, 2.0]) == 0.25
    assert relative_error([0.5, 0.0], [0.0, 0.0]) == 0.5
    assert relative_error([np.nan, 2.0], [1.0, 2.0]) == np.inf
    with pytest.raises(ValueError, match="shapes differ"):
        relative_error(np.zeros(3), np.zeros((3, 1)))


def test_an_array_of_zeros_has_an_absolute_floor():
    """By hand: of a loss without y in it, 6e-19 is rounding, and 1e-13 is not; for x the floor changes nothing."""
    params = {"x": np.array([0.3, -0.7]), "y": np.array([0.5, 0.2])}
    grads = {"x": 2 * params["x"], "y": np.array([6e-19, 0.0])}

    def loss(p):
        return (p["x"] ** 2).sum() + 0 * p["y"].sum()

    check_entries(loss, params, grads)
    for wrong in ({"y": np.array([1e-13, 0.0])}, {"x": 2 * params["x"] + 1e-13}):
        with pytest.raises(AssertionError):
            check_entries(loss, params, grads | wrong)
