"""`nplm gradcheck`: the gradients against the complex step of the equations as printed."""

from typing import Any

import click

TOLERANCE = 1e-10  # of a parameter's largest gradient; the complex step is exact to rounding

EPILOG = """\b
Examples:
  nplm gradcheck
  nplm gradcheck --configs 200 --seed 7 --json
"""


@click.command("gradcheck", epilog=EPILOG, short_help="Check the gradients to rounding.")
@click.option(
    "--seed", type=click.IntRange(0), metavar="N", default=1, show_default=True, help="Of the draws."
)
@click.option(
    "--configs",
    type=click.IntRange(1, 100_000),
    metavar="N",
    default=20,
    show_default=True,
    help="Random models and chunks to check.",
)
@click.option("--json", "as_json", is_flag=True, help="Figures as JSON on stdout.")
def command(seed: int, configs: int, as_json: bool) -> int:
    """Check every entry of every gradient, through a whole chunk, to rounding.

    Small random models in float64: embedding, tied or not, one to three LSTM layers, dropout of every kind, sentences
    that begin anew, and each objective, with repeated noise words and a noise word that is a target. Exit code 1 if a
    gradient is off.
    """
    import numpy as np

    from nplm.cli.output import emit, say, show
    from nplm.cli.progress import announce_kernels

    announce_kernels()
    rng = np.random.default_rng(seed)
    worst: dict[str, float] = {}
    for _ in range(configs):
        for name, error in check_one(rng).items():
            worst[name] = max(worst.get(name, 0.0), error)
    passed = max(worst.values()) < TOLERANCE
    show(
        f"largest relative error in {configs} models",
        [(k, f"{v:.1e}") for k, v in sorted(worst.items())],
        as_json,
    )
    verdict = "right to rounding" if passed else "WRONG"
    say(f"{verdict}: the bound is {TOLERANCE:g} of a parameter's largest gradient")
    if as_json:
        emit({"passed": passed, "tolerance": TOLERANCE, "configs": configs, "seed": seed, "errors": worst})
    return 0 if passed else 1


def check_one(rng: Any) -> dict[str, float]:
    """Relative error by parameter for a random model, chunk and plan."""
    import numpy as np

    from nplm.config import ModelConfig
    from nplm.data.vocabulary import Vocabulary
    from nplm.gradcheck import complex_step, relative_error
    from nplm.model import LanguageModel, param_shapes
    from nplm.network import State
    from nplm.reference import model as equations
    from nplm.selfcheck import masks, objective, random_plan

    vocab, embed, hidden, layers = (int(rng.integers(*span)) for span in ((4, 9), (1, 5), (1, 6), (1, 4)))
    steps, batch, noise = (int(rng.integers(*span)) for span in ((1, 6), (1, 4), (1, 7)))
    tied = bool(rng.integers(2))
    embed = hidden if tied else embed
    config = ModelConfig(vocab, embed, hidden, layers, tied, noise_power=0.75, noise_uniform=0.1)
    counts = {f"w{k}": int(rng.integers(1, 50)) for k in range(vocab - 2)}
    params = {name: rng.normal(0, 0.7, shape) for name, shape in param_shapes(config).items()}
    model = LanguageModel(config, Vocabulary.from_counts(counts | {"</s>": 9, "<unk>": 3}), params)
    inputs, targets = rng.integers(0, vocab, (2, steps, batch), np.int32)
    noise_ids = rng.integers(0, vocab, noise, np.int32)
    noise_ids[-1] = targets[-1, 0]  # noise that is a target
    noise_ids[0] = noise_ids[noise // 2]  # and noise drawn twice
    state = State(*rng.normal(0, 0.7, (2, layers, batch, hidden)))

    plan = random_plan(rng, batch)
    reference: Any = equations  # written without types, to be read
    _, grads, _ = model.loss_and_grads(inputs, targets, noise_ids, state, plan)
    given = (inputs, targets, noise_ids, state.h, state.c, model.log_q)
    same = (masks(model, inputs, plan), objective(plan))
    expected = complex_step(lambda point: reference.loss(point, *given, *same), params)
    return {name: relative_error(grads[name], expected[name]) for name in params}
