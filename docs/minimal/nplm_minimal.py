"""An LSTM language model, trained with noise-contrastive estimation (NCE): one file, plain NumPy, nothing hidden.

python nplm_minimal.py                 train on a made-up text for which the lowest possible perplexity is known
python nplm_minimal.py --noise pool    let the chunks of a sequence share a pool of M groups of noise words
python nplm_minimal.py --check         compare the gradient with the complex step (docs/learn/gradcheck.md)

A word's score is trained to be its log-probability; then Z, the sum of e^score over all words, is 1. Noise words are
drawn from q, the words' frequencies. A position is a word to predict; nats: log is natural. Derivations: docs/learn.
"""

import argparse

import numpy as np

T, B, N = 20, 20, 10  # time steps in a chunk, streams of text side by side, chunks in a sequence
E, H, K, M = 16, 32, 32, 5  # numbers in an embedding, LSTM units, noise words in a group, groups in a pool
LR, CLIP, EPOCHS = 20.0, 0.5, 3  # learning rate (large: the loss is a mean), halved every epoch; clip norm; epochs
EOS = 1  # the id of </s>, the end of a sentence; it also stands before the first word


def sigmoid(x):
    return 0.5 + 0.5 * np.tanh(0.5 * x)  # 1 / (1 + e^-x), without an e^-x that could overflow


def softplus(x):
    return np.where(x.real > 0, x, 0) + np.log1p(np.exp(np.where(x.real > 0, -x, x)))  # log(1 + e^x), likewise


def init(q, rng):
    """Return the parameters, named as in PyTorch. All scores start at log q(w): the untrained model is q, and Z = 1."""
    shapes = {"encoder.weight": (len(q), E), "rnn.weight_ih_l0": (4 * H, E), "rnn.weight_hh_l0": (4 * H, H)}
    params = {name: rng.uniform(-0.1, 0.1, shape) for name, shape in shapes.items()}
    return params | {"rnn.bias_l0": np.zeros(4 * H), "decoder.weight": np.zeros((len(q), H)), "decoder.bias": np.log(q)}


def run_lstm(params, inputs, state):
    """Read the words inputs (T,B) from the state (h, c), each (B,H), and return all that is computed on the way."""
    x, h, c, gates = params["encoder.weight"][inputs], [state[0]], [state[1]], []  # [E1]
    for t in range(len(x)):
        a = x[t] @ params["rnn.weight_ih_l0"].T + h[t] @ params["rnn.weight_hh_l0"].T + params["rnn.bias_l0"]  # [L1]
        a_i, a_f, a_g, a_o = np.split(a, 4, axis=1)  # (B,H) each
        gates.append((sigmoid(a_i), sigmoid(a_f), np.tanh(a_g), sigmoid(a_o)))  # [L2] [L3]
        i, f, g, o = gates[t]
        c.append(f * c[t] + i * g)  # [L4]
        h.append(o * np.tanh(c[t + 1]))  # [L5]
    return x, h, c, gates  # h[0], c[0]: the state carried in; h[t + 1]: the output of step t


def gradient(params, inputs, targets, noise, state, log_q):
    """Return the NCE loss of a chunk in nats per position, its gradient, and the state after the chunk."""
    x, h, c, gates = run_lstm(params, inputs, state)
    hidden = np.concatenate(h[1:])  # (T*B,H)
    words = np.column_stack([np.tile(noise, (targets.size, 1)), targets.ravel()])  # (T*B,K+1), the target is last
    score = np.einsum("nh,nkh->nk", hidden, params["decoder.weight"][words]) + params["decoder.bias"][words]  # [N1]
    delta = score - np.log(len(noise)) - log_q[words]  # [N2]: the log-odds that a word is text and not noise
    loss = (softplus(delta[:, :-1]).sum() + softplus(-delta[:, -1]).sum()) / targets.size  # [N3]
    grads = {name: np.zeros_like(value) for name, value in params.items()}  # from here on, the lines in reverse
    ds = np.where(np.arange(len(noise) + 1) < len(noise), sigmoid(delta), -sigmoid(-delta)) / targets.size  # [dN3]
    np.add.at(grads["decoder.bias"], words, ds)  # [dN1]; `+=` would lose all but one of a word's repetitions
    np.add.at(grads["decoder.weight"], words, ds[:, :, None] * hidden[:, None])
    dhidden = np.einsum("nk,nkh->nh", ds, params["decoder.weight"][words]).reshape(len(x), -1, H)
    dx, dh, dc = np.zeros_like(x), np.zeros_like(h[0]), np.zeros_like(c[0])  # the cut: dh, dc = 0
    for t in reversed(range(len(x))):
        i, f, g, o = gates[t]
        dh = dh + dhidden[t]  # h_t is used by the scores and by step t + 1: the two gradients add
        do, dc = dh * np.tanh(c[t + 1]), dc + dh * o * (1 - np.tanh(c[t + 1]) ** 2)  # [dL5]
        df, di, dg, dc = dc * c[t], dc * g, dc * i, dc * f  # [dL4]
        da = np.concatenate([di * i * (1 - i), df * f * (1 - f), dg * (1 - g**2), do * o * (1 - o)], axis=1)  # [dL2]
        dx[t], dh = da @ params["rnn.weight_ih_l0"], da @ params["rnn.weight_hh_l0"]  # [dL1]
        grads["rnn.weight_ih_l0"] += da.T @ x[t]
        grads["rnn.weight_hh_l0"] += da.T @ h[t]
        grads["rnn.bias_l0"] += da.sum(axis=0)
    np.add.at(grads["encoder.weight"], inputs, dx)  # [dE1]
    return loss, grads, (h[-1], c[-1])  # dh and dc are dropped: the other side of the cut


def noise_groups(kind, q, rng):
    """Yield a group of K noise words for each of the N chunks of a sequence, drawn from q."""
    pool = rng.choice(len(q), (M, K), p=q)  # claim 3: M groups are drawn ahead, each for a run of chunks
    for n in range(N):
        yield pool[n * M // N] if kind == "pool" else rng.choice(len(q), K, p=q)  # claim 2: drawn before each chunk


def train(params, ids, groups, log_q):
    """Claim 1: for each chunk in order, compute the loss and its gradient, update the parameters. Yield the losses."""
    n = len(ids) // B * B  # the few words that do not fill B streams are left out
    targets, inputs = ids[:n].reshape(B, -1).T, np.append(EOS, ids[: n - 1]).reshape(B, -1).T  # (steps,B)
    for epoch in range(EPOCHS):
        state = np.zeros((2, B, H))
        for start in range(0, len(targets), T):
            if start % (N * T) == 0:  # a new sequence
                noise = groups(epoch, start // (N * T))
            chunk = inputs[start : start + T], targets[start : start + T]
            loss, grads, state = gradient(params, *chunk, next(noise), state, log_q)  # the state is carried on
            norm = np.sqrt(sum((grad**2).sum() for grad in grads.values()))
            for name, grad in grads.items():
                params[name] -= LR * 0.5**epoch * min(1, CLIP / norm) * grad
            yield loss


def evaluate(params, ids):
    """Return the exact perplexity of a text, and log Z (n,) at each of its words."""
    state, log_p, log_z = np.zeros((2, 1, H)), np.zeros(len(ids)), np.zeros(len(ids))
    for n, (word, target) in enumerate(zip(np.append(EOS, ids), ids, strict=False)):
        _, h, c, _ = run_lstm(params, np.array([[word]]), state)
        state, score = (h[1], c[1]), params["decoder.weight"] @ h[1][0] + params["decoder.bias"]
        log_z[n] = np.logaddexp.reduce(score)
        log_p[n] = score[target] - log_z[n]
    return np.exp(-log_p.mean()), log_z


def check(rng):
    """Compare the gradient at 20 random places of each parameter with the complex step, which is exact to rounding."""
    q, noise, state = rng.dirichlet(np.ones(7)), rng.integers(7, size=4), rng.normal(size=(2, 2, H))
    params = {name: rng.normal(size=value.shape) for name, value in init(q, rng).items()}
    chunk = *rng.integers(7, size=(2, 3, 2)), noise, state, np.log(q)
    for name, grad in gradient(params, *chunk)[1].items():
        error = 0.0
        for place in map(tuple, rng.integers(grad.shape, size=(20, grad.ndim))):
            moved = {key: value.astype(complex) for key, value in params.items()}
            moved[name][place] += 1e-30j  # d loss / dp = Im loss(p + 1e-30 i) / 1e-30
            error = max(error, abs(gradient(moved, *chunk)[0].imag / 1e-30 - grad[place]))
        print(f"{name:17} largest gradient {np.abs(grad).max():.3f}, largest error {error:.1e}")


def made_up_text(rng, words=32, length=100_000):
    """Return two texts of a Markov chain, the words' counts, and the chain's own perplexity: no model can beat it."""
    p, ids = rng.dirichlet(np.full(words, 0.1), words), [EOS]  # p[v]: the distribution of the word after v
    for u in rng.random(length):
        ids.append(np.searchsorted(p[ids[-1]].cumsum()[:-1], u))
    train, test = np.array(ids[1 : -length // 20]), np.array(ids[-length // 20 - 1 :])
    return train, test[1:], np.bincount(train, minlength=words), np.exp(-np.log(p[test[:-1], test[1:]]).mean())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--noise", choices=["fresh", "pool"], default="fresh", help="claim 2 or claim 3")
    parser.add_argument("--check", action="store_true", help="check the gradient and stop")
    args, rng = parser.parse_args(), np.random.default_rng(1)
    if args.check:
        raise SystemExit(check(rng))
    ids, test, counts, lowest = made_up_text(rng)
    q = np.maximum(counts, 1) / np.maximum(counts, 1).sum()  # q > 0 for every word, seen or not
    params = init(q, rng)
    print(f"perplexity on {len(test)} words: {evaluate(params, test)[0]:.2f} untrained, {lowest:.2f} at best")
    for n, loss in enumerate(train(params, ids, lambda *_: noise_groups(args.noise, q, rng), np.log(q))):
        if n % 100 == 0:
            print(f"chunk {n:5}: loss {loss:.3f} nats")
    perplexity, log_z = evaluate(params, test)
    print(f"trained: perplexity {perplexity:.2f}, log Z {log_z.mean():+.3f} +- {log_z.std():.3f}")
