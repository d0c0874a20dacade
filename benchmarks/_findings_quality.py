"""What the recipes, the objectives and the yardstick say: the findings of docs/quality.md.

Functions of rows, each yielding plain sentences; none where the rows are missing.
"""

from collections.abc import Iterable

from _phrases import compared, figure, listed, versus
from _rows import Row, Rows, best_at, groups, mean, objectives, pick, seconds_to

NEAR = {100: 0.03, 500: 0.015}  # K -> aim, how far NCE may be above the softmax
LOG_Z, LOG_Z_SD = 0.1, 0.3  # aims, bounds of |mean log Z| and of its standard deviation
AIMS = {  # recipe -> what it is, aims, published test perplexity by the softmax
    "ptb-small-regularised": ("2 x 200 units, tied and regularised, by NCE", (88.0,), 87.17),
    "ptb-medium": ("2 x 650 units, tied and regularised, by NCE", (79.0, 75.0), 75.96),
}
SOURCE = "of PyTorch's word_language_model of this size, tied, by the softmax (its README's history)"
SOFTMAX_AIM = 117.0


def nce_against_softmax(rows: Rows) -> Iterable[str]:
    """At the K of the aims, on the test text."""
    softmax = pick(rows, case="softmax")
    for k, bound in NEAR.items():
        nce = pick(rows, case=f"nce-{k}")
        if nce and softmax:
            relative = mean(nce, "test_perplexity") / mean(softmax, "test_perplexity") - 1
            yield (
                f"By NCE with K = {k} the test perplexity is {compared(nce, softmax, 'that of our own softmax')}; the"
                f" aim, at most {100 * bound:g} % above it, is {'reached' if relative <= bound else 'missed'}."
            )


def equal_seconds(rows: Rows) -> Iterable[str]:
    """The curves of the first seed that both have, at the time at which NCE has finished."""
    for k in NEAR:
        nce, softmax = (
            {row["seed"]: row["curve"] for row in pick(rows, case=case)} for case in (f"nce-{k}", "softmax")
        )
        for seed in sorted(nce.keys() & softmax.keys())[:1]:
            yield _at_the_end(k, nce[seed], softmax[seed])


def _at_the_end(k: int, nce: Rows, softmax: Rows) -> str:
    end = nce[-1]["seconds"]
    ours, theirs = best_at(nce, end), best_at(softmax, end)
    assert ours is not None  # `end` is the end of an epoch
    text = f"NCE with K = {k} ends after {end:,.0f} s of training with a valid perplexity of {figure(ours)}, "
    if theirs is None:
        text += "before the softmax has finished its first epoch"
    else:
        text += f"which is {versus(ours, theirs)} what the softmax has by then ({figure(theirs)})"
    goal = min(point["perplexity"] for point in softmax)
    needed, ours = seconds_to(softmax, goal), seconds_to(nce, goal)
    text += f"; the softmax needs {needed:,.0f} s to its own best, {figure(goal)}, "
    return text + (f"and NCE {ours:,.0f} s to get as far." if ours else "and NCE does not get as far.")


def num_noise(rows: Rows) -> Iterable[str]:
    """What K buys, from the smallest to the largest, and what the last step adds."""
    nce = [row for row in objectives(rows) if row["objective"] == "nce" and row["power"] == 1]
    by_k = dict(sorted((k, same) for (k,), same in groups(nce, "num_noise")))
    if len(by_k) < 2:
        return
    first, before, last = min(by_k), *list(by_k)[-2:]
    yield (
        f"With K = {last:,} the test perplexity is {compared(by_k[last], by_k[first], f'that with K = {first:,}')},"
        f" and the training time is {versus(*(mean(by_k[k], 'seconds') for k in (last, first)))} that with"
        f" K = {first:,}."
    )
    if before != first:
        yield (
            f"With K = {last:,} the test perplexity is"
            f" {compared(by_k[last], by_k[before], f'that with K = {before:,}')}."
        )
    best = min(by_k, key=lambda k: mean(by_k[k], "test_perplexity"))
    yield f"Of the K tried, {listed(f'{k:,}' for k in by_k)}, the lowest test perplexity is that of {best:,}."


def noise_power(rows: Rows) -> Iterable[str]:
    """Which power of the unigram counts is best at K = 100."""
    nce = [row for row in objectives(rows) if row["objective"] == "nce" and row["num_noise"] == 100]
    by_power = dict(sorted((power, same) for (power,), same in groups(nce, "power")))
    if len(by_power) < 2:
        return
    best = min(by_power, key=lambda power: mean(by_power[power], "test_perplexity"))
    others = (
        f"at {power:g} it is {compared(same, by_power[best], 'that')}"
        for power, same in by_power.items()
        if power != best
    )
    yield (
        "With K = 100, of the powers of the unigram counts that noise words were drawn by,"
        f" {best:g} has the lowest test perplexity; {listed(others)}."
    )


def other_objectives(rows: Rows) -> Iterable[str]:
    """Sampled softmax and ranking against NCE with as many noise words."""
    for case, name in (("sampled-softmax", "Sampled softmax"), ("ranking", "Ranking")):
        parts = [
            f"with K = {k} it is {compared(other, nce, 'that by NCE')}"
            for k in NEAR
            if (other := pick(rows, case=f"{case}-{k}")) and (nce := pick(rows, case=f"nce-{k}"))
        ]
        if parts:
            yield f"{name}, test perplexity: {listed(parts)}."


def self_normalisation(recipes: Rows, studied: Rows) -> Iterable[str]:
    """Which models are as near to normalised as was aimed for, on the test text, with every seed."""
    models: dict[str, Rows] = {}
    for row in recipes + studied:
        models.setdefault(row.get("case") or row["recipe"], []).append(row)
    if "nce-256" in models:  # the recipe itself
        models.pop("ptb-small", None)
    fitted = {name: models.pop(name) for name in list(models) if models[name][0].get("fit_log_z")}
    nce = {name: same for name, same in models.items() if same[0]["objective"] == "nce"}
    kept = [name for name, same in nce.items() if all(map(normalised, same))]
    if nce:
        text = f"Models trained by NCE that keep |mean log Z| <= {LOG_Z} and sd <= {LOG_Z_SD} on the test text,"
        yield f"{text} nothing done after training: {len(kept)} of {len(nce)}" + (
            f", {listed(log_z(name, nce[name]) for name in kept)}." if kept else "."
        )
    if missed := [
        log_z(name, [row for row in same if not normalised(row)]) for name, same in nce.items() if name not in kept
    ]:
        yield f"Those that do not: {listed(missed)}."
    if fitted:
        yield (
            "Trained with dropout, and the mean log Z of the valid text taken off the bias afterwards (fit-log-z), on"
            f" the test text: {listed(log_z(name, same) for name, same in fitted.items())}."
        )
    if other := [log_z(name, same) for name, same in models.items() if name not in nce]:
        yield f"By other objectives, which do not ask for it: {listed(other)}."


def normalised(row: Row) -> bool:
    """Whether a model's log Z is within the aims."""
    return abs(row["mean_log_z"]) <= LOG_Z and row["std_log_z"] <= LOG_Z_SD


def log_z(name: str, rows: Rows) -> str:
    """A model with its log Z."""
    return f"{name} ({mean(rows, 'mean_log_z'):+.3f}, sd {mean(rows, 'std_log_z'):.3f})"


def aims(recipes: Rows, studied: Rows) -> Iterable[str]:
    """Whether the recipes on the Penn Treebank reach what was asked for."""
    for recipe, (what, bounds, published) in AIMS.items():
        if rows := pick(recipes, recipe=recipe):
            value = mean(rows, "test_perplexity")
            yield (
                f"Penn Treebank, {what}: test perplexity {value:.2f}, {listed(aim(value, bound) for bound in bounds)};"
                f" it is {versus(value, published)} the {published} {SOURCE}."
            )
    if rows := pick(studied, case="softmax"):
        value = mean(rows, "test_perplexity")
        yield f"Our own softmax, 2 x 200 units without dropout: {value:.2f}, {aim(value, SOFTMAX_AIM)}."


def aim(value: float, bound: float) -> str:
    """Whether a perplexity is within a bound, or by how much not."""
    return f"the aim of {bound:g} " + ("reached" if value <= bound else f"missed by {value - bound:.2f}")


def counting(demo: Rows, ptb: Rows) -> Iterable[str]:
    """The LSTM against the highest order of Kneser-Ney, and mixed with it."""
    for text, rows in (("the demo's corpus", demo), ("the Penn Treebank", ptb)):
        for row in rows:
            if row.get("mixed_test_perplexity"):
                ngram, lstm, mixed = (row[f"{kind}test_perplexity"] for kind in ("", "neural_", "mixed_"))
                yield (
                    f"On {text} the test perplexity of the LSTM it was mixed with is {versus(lstm, ngram)} that of"
                    f" the Kneser-Ney {row['order']}-gram ({figure(lstm)} against {figure(ngram)}); mixed they"
                    f" reach {figure(mixed)}, {versus(mixed, min(lstm, ngram))} the better of the two."
                )
