"""Bugs planted one at a time, and the test that has to notice each: a list, and a program that plants them.

    NUMBA_DISABLE_JIT=1 python tests/planted_bugs.py      one JSON object: bug -> what the test said

The program copies the package to a temporary folder, changes one line of the copy, imports it afresh and calls
the test function.  Kernels run as plain Python, so neither the compiler nor its cache comes in between.
"""

import importlib
import json
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

ROOT = Path(__file__).parent.parent
RANKS = ("rank_cases", "thread_ranks")  # which the tests of ranks import
CLEAN = "clean: "  # before the name of a bug: the same test without the bug


class Bug(NamedTuple):
    """One line of a file of the package: `old`, which stands there exactly once, becomes `new`."""

    name: str
    file: str  # within nplm/
    old: str
    new: str
    check: str  # tests/<module>::<function>
    arguments: Mapping[str, Any] = MappingProxyType({})
    trains: bool = False  # a plain training run goes through the line: benchmarks/study_faults.py measures it


DOUBLE = {"dtype": "float64"}
ROWS = {"kind": "adam", "decay": 0.3, "history": 50, "dtype": "float64"}
AVERAGE = {"decay": 0.3, "dtype": "float64"}

TWO_POOLS = {"groups": 3, "k": 4}

BUGS = [
    # ---- stratified noise
    Bug(
        "stratified noise: neighbouring strata go to neighbouring groups",
        "noise/strata.py",
        "return pow(next(b for b in near if math.gcd(b, groups) == 1), -1, groups)",
        "return 1",
        "test_strata::test_the_multiplier_deals_every_stratum_once",
        {"groups": 32},
    ),
    Bug(
        "stratified noise: a group has the same strata in every pool",
        "noise/strata.py",
        "group - shift.astype(np.int64)",
        "group - 0 * shift.astype(np.int64)",
        "test_strata::test_draws",
        TWO_POOLS,
    ),
    Bug(
        "stratified noise: every draw in the middle of its stratum",
        "noise/strata.py",
        "+ stratum + u)",
        "+ stratum + 0 * u + 0.5)",
        "test_strata::test_draws",
        TWO_POOLS,
    ),
    Bug(
        "stratified noise: the groups of a pool are dealt out each by itself",
        "noise/groups.py",
        "self._round(epoch, sequence)), self.groups)",
        "self._round(epoch, sequence)))",
        "test_strata::test_a_group_of_a_pool_depends_on_the_others",
    ),
    Bug(
        "stratified noise asked for, independent draws given",
        "noise/groups.py",
        'if noise.draw == "independent":',
        "if True:",
        "test_strata::test_groups_are_functions_of_their_place",
    ),
    Bug(
        "the pool's own counts: words in none of its groups are pushed up all the same",
        "network.py",
        "if plan.log_q is not None:",
        "if False:",
        "test_own_counts::test_gradients_of_a_chunk",
    ),
    Bug(
        "the pool's own counts: those of one group taken for the pool's",
        "noise/groups.py",
        "drawn = pool.pool(epoch, sequence).ravel()",
        "drawn = pool.pool(epoch, sequence)[0].ravel()",
        "test_own_counts::test_the_shares_of_a_pool",
    ),
    Bug(
        "the pool's own counts: those of the first sequence for all",
        "training/trainer.py",
        "self.noise.log_q(self.progress.epoch, span.sequence)",
        "self.noise.log_q(self.progress.epoch, 0)",
        "test_own_counts::test_every_update_by_hand",
    ),
    # ---- the loss
    Bug(
        "log K left out of the loss",
        "layers/nce.py",
        "log_k = np.log(len(noise_ids)).astype(dtype)",
        "log_k = dtype.type(0.0)",
        "test_model::test_first_loss_of_an_untrained_model",
        {"dtype": "float64", "tolerance": 1e-12, "num_noise": 7},
        trains=True,
    ),
    Bug(
        "a target's gradient dropped when it is also drawn as noise",
        "layers/nce.py",
        "noise_weight, dtarget, dnoise = cache",
        "noise_weight, dtarget, dnoise = cache; dtarget = dtarget * ~np.isin(targets, words)",
        "test_nce::test_backward",
        DOUBLE,
        trains=True,
    ),
    Bug(
        "draws that hit a target rejected",
        "layers/nce.py",
        "words, counts = np.unique(noise_ids, return_counts=True)",
        "words, counts = np.unique(noise_ids[~np.isin(noise_ids, targets)], return_counts=True)",
        "test_nce::test_mean_over_all_noise_groups",
        {"vocab": 8, "num_noise": 2},
        trains=True,
    ),
    Bug(
        "a repeated noise word counted once",
        "layers/nce.py",
        "counts.astype(dtype)",
        "np.ones(words.size, dtype)",
        "test_nce::test_loss",
        DOUBLE,
        trains=True,
    ),
    Bug(
        "a repeated noise word counted once in the gradient only",
        "kernels/nce.py",
        "delta[u] = factor * counts[u] *",
        "delta[u] = factor *",
        "test_nce::test_backward",
        DOUBLE,
        trains=True,
    ),
    Bug(
        "the loss takes another law than the sampler's",
        "model.py",
        "self.log_q = self.noise.log_probs.astype(self.dtype)",
        "self.log_q = np.full(len(vocabulary), -np.log(len(vocabulary)), self.dtype)",
        "test_model::test_noise_is_drawn_from_the_distribution_of_the_loss",
        {"power": 1.0, "uniform": 0.0},
        trains=True,
    ),
    Bug(
        "the power of the counts is in q but not in the sampler",
        "noise/distribution.py",
        "AliasTable.from_probs(probs))",
        "AliasTable.from_probs(_counts(counts) / _counts(counts).sum()))",
        "test_model::test_noise_is_drawn_from_the_distribution_of_the_loss",
        {"power": 0.75, "uniform": 0.0},
    ),
    Bug(
        "the targets' part of the bias gradient missing",
        "kernels/nce.py",
        "dbias[places[n]] += d",
        "pass",
        "test_nce::test_backward",
        DOUBLE,
        trains=True,
    ),
    Bug(
        "the noise words' part of the bias gradient missing",
        "layers/nce.py",
        "dbias[noise_places] = dnoise.sum(axis=0)",
        "pass",
        "test_nce::test_backward",
        DOUBLE,
        trains=True,
    ),
    # ---- the LSTM and what is carried through time
    Bug(
        "the LSTM's backward stops before t = 0",
        "kernels/lstm.py",
        "for t in range(steps - 1, -1, -1):",
        "for t in range(steps - 1, 0, -1):",
        "test_lstm::test_first_step_counts",
        trains=True,
    ),
    Bug(
        "the forget gate's gradient takes c_t for c_{t-1}",
        "kernels/lstm.py",
        "step_backward(gates[t], c[t], ",
        "step_backward(gates[t], c[t + 1], ",
        "test_lstm::test_backward_is_the_complex_step",
        {"name": "bias"},
        trains=True,
    ),
    Bug(
        "the gradient of the cell not carried to the step before",
        "kernels/lstm.py",
        "dc[b, j] = dc_t * f  #",
        "dc[b, j] = 0.0  #",
        "test_lstm::test_backward",
        {"dtype": "float64", "name": "c0"},
        trains=True,
    ),
    Bug(
        "the gradient of the hidden state not carried to the step before",
        "kernels/lstm.py",
        "zero, row_0, dh_flat, at_first,",
        "zero, row_0, dh_flat.copy(), at_first,",
        "test_lstm::test_backward",
        {"dtype": "float64", "name": "x"},
        trains=True,
    ),
    Bug(
        "input and forget gate swapped in the forward",
        "kernels/lstm.py",
        "i, f, g, o = gates[:size]",
        "f, i, g, o = gates[:size]",
        "test_lstm::test_forward",
        DOUBLE,
        trains=True,
    ),
    Bug(
        "tanh' of the cell taken as 1 - tanh",
        "kernels/lstm.py",
        "(one - tanh_c_t * tanh_c_t)",
        "(one - tanh_c_t)",
        "test_lstm::test_backward",
        {"dtype": "float64", "name": "weight_ih"},
        trains=True,
    ),
    Bug(
        "tanh' of the gate g taken as g (1 - g)",
        "kernels/lstm.py",
        "(one - g * g)",
        "g * (one - g)",
        "test_gradients::test_gradients_where_all_shapes_differ",
        trains=True,
    ),
    Bug(
        "the cell state not carried to the next chunk",
        "network.py",
        "np.stack([cache.c[-1] for cache in caches])",
        "np.stack([cache.c[0] for cache in caches])",
        "test_model::test_state_is_carried",
        trains=True,
    ),
    Bug(
        "an upper layer starts from the first layer's state",
        "network.py",
        "x, state.h[k], state.c[k], *weights",
        "x, state.h[0], state.c[k], *weights",
        "test_model::test_log_probs",
        DOUBLE,
        trains=True,
    ),
    Bug(
        "the reference itself: the cell's gradient without the forget gate",
        "reference/lstm.py",
        "dc_read = dc * f",
        "dc_read = dc",
        "test_gradients::test_gradients_where_all_shapes_differ",
    ),
    # ---- dropout, tied weights, sentences that begin anew
    Bug(
        "a mask between layers not reused in the backward",
        "network.py",
        "plan.dropout.input(dx, k + 1)",
        "plan.dropout.input(dx, k + 9)",
        "test_plans::test_gradients_of_everything",
    ),
    Bug(
        "the recurrent mask not reused in the backward",
        "kernels/lstm.py",
        "_read_state(dh, mask, keep[t], dh, dc)",
        "pass",
        "test_plans::test_gradients_of_everything",
    ),
    Bug(
        "the tied matrix has the gradient of one of its places",
        "network.py",
        "row_gradient.total([doutput, dencoder]",
        "row_gradient.total([doutput]",
        "test_plans::test_gradients_of_everything",
    ),
    Bug(
        "a sentence begins with the cell of the one before",
        "kernels/lstm.py",
        "c[b, j] *= keep[b]",
        "c[b, j] *= 1.0",
        "test_plans::test_reset_is_a_sentence_from_the_zero_state",
    ),
    # ---- other objectives
    Bug(
        "sampled softmax: hits not masked",
        "layers/sampled_softmax.py",
        "np.full(targets.size, -1) if keep_hits else _hits(targets, cache.words)",
        "np.full(targets.size, -1)",
        "test_sampled_softmax::test_loss",
        {"dtype": "float64", "keep_hits": False},
    ),
    Bug(
        "sampled softmax: a hit masked in the loss but not in the gradient",
        "kernels/sampled_softmax.py",
        "delta[hit] = real(0.0)",
        "delta[hit] = counts[hit] * exp(target - maximum)",
        "test_sampled_softmax::test_backward",
        {"dtype": "float64", "keep_hits": False},
    ),
    Bug(
        "sampled softmax: log q corrects the noise words and not the target",
        "layers/nce.py",
        "target_delta += bias[targets] - log_q[targets] - log_k",
        "target_delta += bias[targets] - log_k",
        "test_sampled_softmax::test_kept_hits_are_consistent",
        {"vocab": 4, "num_noise": 3},
    ),
    Bug(
        "sampled softmax: a repeated noise word counted once",
        "kernels/sampled_softmax.py",
        "e = counts[u] * exp(delta[u] - maximum)",
        "e = exp(delta[u] - maximum)",
        "test_sampled_softmax::test_loss",
        {"dtype": "float64", "keep_hits": False},
    ),
    Bug(
        "the penalty on log Z in the loss but not in the gradient",
        "kernels/softmax.py",
        "scale * (1.0 + 2.0 * penalty * log_z) / z",
        "scale / z",
        "test_softmax::test_loss_and_backward",
        {"dtype": "float64", "penalty": 0.3},
    ),
    # ---- optimisers
    Bug(
        "Adam moves a row in the first of the steps it missed only",
        "kernels/optim.py",
        "begin + 1 + min(missed, horizon)",
        "begin + 1 + min(missed, 1)",
        "test_optim::test_rows_are_up_to_date_when_they_are_read",
        ROWS,
    ),
    Bug(
        "Adam's squares do not fade while a row waits",
        "kernels/optim.py",
        "v[j] *= kept",
        "v[j] *= real(1.0)",
        "test_optim::test_rows_are_up_to_date_when_they_are_read",
        ROWS,
    ),
    Bug(
        "Adam squares the gradient before it is clipped",
        "kernels/optim.py",
        "new2 * (g * g)",
        "new2 * (d[j] * d[j])",
        "test_optim::test_adam",
        DOUBLE,
    ),
    Bug(
        "Adam's warm start is restarted whenever all rows catch up",
        "training/optim.py",
        "t, place = int(self.clock[0]), self.clock[0] - self.clock[1]",
        "t = place = int(self.clock[0] - self.clock[1])",
        "test_optim::test_rows_are_up_to_date_when_they_are_read",
        ROWS,
    ),
    Bug(
        "a row decays in the steps that touch it only",
        "kernels/optim.py",
        "np.exp(logs[until - first] - logs[dates[rows[r]] - first])",
        "np.exp(logs[until - first] - logs[max(until - 1 - first, 0)])",
        "test_optim::test_rows_are_up_to_date_when_they_are_read",
        {**ROWS, "kind": "sgd"},
    ),
    Bug(
        "biases decay",
        "training/optim.py",
        "self.decay > 0 and param.ndim > 1",
        "self.decay > 0",
        "test_optim::test_biases_are_not_decayed",
    ),
    Bug(
        "rows that nobody read are dated as if they had caught up",
        "training/optim.py",
        "self.dates[name][rows] = self.clock[0]",
        "self.dates[name][:] = self.clock[0]",
        "test_optim::test_rows_are_up_to_date_when_they_are_read",
        ROWS,
    ),
    Bug(
        "the average counts a row in the steps that touch it only",
        "training/optim.py",
        "-before * lr * scale)",
        "-lr * scale)",
        "test_optim::test_average_of_all_steps_after_the_trigger",
        {**AVERAGE, "decay": 0.0},
    ),
    Bug(
        "the average forgets what decay did while a row waited",
        "kernels/optim.py",
        "b[j] += factor * p[j]",
        "b[j] += 0 * p[j]",
        "test_optim::test_average_of_all_steps_after_the_trigger",
        AVERAGE,
    ),
    Bug(
        "the average includes the step before the trigger",
        "training/optim.py",
        "count = int(self.clock[0] - self.clock[2])",
        "count = int(self.clock[0] - self.clock[2] + 1)",
        "test_optim::test_average_of_all_steps_after_the_trigger",
        AVERAGE,
    ),
    Bug(
        "the number of steps is not saved",
        "training/optim.py",
        '{"clock": self.clock, "history": self.history}',
        '{"history": self.history}',
        "test_optim::test_memory_is_all_there_is",
        {"kind": "adam", "decay": 0.3},
    ),
    Bug(
        "warm-up begins with a rate of zero",
        "training/schedule.py",
        "rate * (chunk + 1) / config.warmup",
        "rate * chunk / config.warmup",
        "test_schedule::test_warm_up",
        {"name": "step"},
    ),
    Bug(
        "the cosine begins before the warm-up is over",
        "training/schedule.py",
        "share = (chunk - config.warmup) / max(config.epochs * chunks_per_epoch - config.warmup, 1)",
        "share = chunk / (config.epochs * chunks_per_epoch)",
        "test_schedule::test_warm_up",
        {"name": "cosine"},
    ),
    # ---- sums over rows and shards
    Bug(
        "`+=` through an index array: a repeated input word gets one gradient",
        "layers/row_gradient.py",
        "kernels.sum_at(values, places, sums)",
        "sums[...] = 0\n    sums[places] += values",
        "test_embedding::test_backward",
        DOUBLE,
        trains=True,
    ),
    Bug(
        "a row that two shards share keeps the last shard's gradient",
        "kernels/row_gradient.py",
        "target[j] += value[j]",
        "target[j] = value[j]",
        "test_shards::test_sum_of_the_shards",
        {"num_shards": 2},
        trains=True,
    ),
    Bug(
        "every shard takes the mean over its own positions",
        "training/step.py",
        "columns, scale, room, own)",
        "columns, 1.0 / part[1].size, room, own)",
        "test_shards::test_sum_of_the_shards",
        {"num_shards": 3},
        trains=True,
    ),
    # ---- updates
    Bug(
        "every tensor clipped by its own norm",
        "training/optim.py",
        "kernels.sgd(matrix, rows, values, lr * scale)",
        "kernels.sgd(matrix, rows, values, lr * min(1.0, self.clip / max(1e-9, global_norm({name: grad}))))",
        "test_optim::test_clipping_is_by_the_norm_of_all_together",
        trains=True,
    ),
    Bug(
        "Adagrad squares the gradient before it is clipped",
        "kernels/optim.py",
        "s[j] += g * g",
        "s[j] += d[j] * d[j]",
        "test_optim::test_two_steps",
        {"dtype": "float64", "kind": "adagrad", "clip": 0.25},
    ),
    # ---- bfloat16
    Bug(
        "bfloat16 cut off instead of rounded",
        "kernels/bfloat16.py",
        "nearest = np.uint32(bits + (HALF + ((bits >> SIXTEEN) & LAST)) * (LAST - nan))",
        "nearest = bits",
        "test_bfloat16::test_ties_go_to_even_by_hand",
    ),
    Bug(
        "bfloat16: ties rounded away from zero",
        "kernels/bfloat16.py",
        "(HALF + ((bits >> SIXTEEN) & LAST))",
        "(HALF + LAST)",
        "test_bfloat16::test_ties_go_to_even_by_hand",
    ),
    Bug(
        "bfloat16: a NaN rounded to inf or to zero",
        "kernels/bfloat16.py",
        "np.uint32(bits & ABSOLUTE) > INFINITY",
        "np.uint32(bits & ABSOLUTE) > ABSOLUTE",
        "test_bfloat16::test_nan_and_inf",
    ),
    Bug(
        "bfloat16: the last row of an odd depth dropped",
        "kernels/bfloat16.py",
        "range(0, min(WIDTH, 2 * panels.shape[1] - start), 2)",
        "range(0, min(WIDTH, 2 * panels.shape[1] - start - 2), 2)",
        "test_bfloat16::test_product",
        {"rows": 3, "columns": 5, "depth": 7},
    ),
    Bug(
        "bfloat16: the two of a pair swapped in one operand",
        "kernels/bfloat16.py",
        "_interleave(halves[m], halves[m + 1], columns",
        "_interleave(halves[m + 1], halves[m], columns",
        "test_bfloat16::test_product",
        {"rows": 3, "columns": 5, "depth": 7},
    ),
    Bug(
        "bfloat16: the weight gradient leaves out the last of an odd number of positions",
        "kernels/bfloat16.py",
        "_interleave(halves[2 * k], high, columns, panels, k)",
        "_interleave(halves[2 * k] if 2 * k + 1 < depth else zeros, high, columns, panels, k)",
        "test_bfloat16::test_transposed_product",
        {"rows": 3, "columns": 5, "depth": 7},
    ),
    Bug(
        "bfloat16: the state read by the recurrence is not rounded again after dropout",
        "kernels/lstm.py",
        "round_rows(h_read[t], left[t])",
        "round_rows(h[t], left[t])",
        "test_precision::test_lstm",
        {"batch": 3, "factors": True, "size": 7},
    ),
    # ---- text and evaluation
    Bug(
        "the ideographic space is a letter to compiled code",
        "kernels/words.py",
        "return 3 if text[i + 1] == 0x80 and text[i + 2] == 0x80 else 0",
        "return 0",
        "test_input::test_words_found_by_hand",
    ),
    Bug(
        "lines are not shuffled",
        "data/streams.py",
        "order = rng.permutation(len(stops))",
        "order = np.arange(len(stops))",
        "test_cli_input::test_shuffled_streams_are_the_lines_in_another_order",
    ),
    Bug(
        "the tokens that do not fill all streams dropped",
        "data/streams.py",
        "self.full_steps, self.tail = divmod(len(ids), batch_size)",
        "self.full_steps, self.tail = len(ids) // batch_size, 0",
        "test_evaluate::test_carried_state",
        {"batch_size": 4},
        trains=True,
    ),
    Bug(
        "the target is the input word itself",
        "data/streams.py",
        "inputs = self._take(places - 1)",
        "inputs = self._take(places)",
        "test_evaluate::test_carried_state",
        {"batch_size": 1},
        trains=True,
    ),
    Bug(
        "the state not carried from window to window in evaluation",
        "scoring/scorer.py",
        "hidden, state = hidden_states(network, inputs, state.columns(0, inputs.shape[1]))",
        "hidden, _ = hidden_states(network, inputs, state.columns(0, inputs.shape[1]))",
        "test_evaluate::test_carried_state",
        {"batch_size": 4},
        trains=True,
    ),
    Bug(
        "perplexity skips the words that are out of the vocabulary",
        "scoring/tally.py",
        "self.nats += float(nats[~zero].sum())",
        "self.nats += float(nats[~zero & ~oov].sum())",
        "test_evaluate::test_carried_state",
        {"batch_size": 1},
    ),
    Bug(
        "unnormalised scores passed off as log-probabilities",
        "scoring/evaluate.py",
        "self.add(words, log_z - scores)",
        "self.add(words, -scores)",
        "test_evaluate::test_state_reset_at_every_sentence",
        {"batch_size": 3},
        trains=True,
    ),
    Bug(
        "the fitted log Z added to the bias instead of taken off",
        "scoring/evaluate.py",
        "bias - bias.dtype.type(c)",
        "bias + bias.dtype.type(c)",
        "test_evaluate::test_the_mean_log_z_taken_off",
    ),
    Bug(
        "exp of a score: log Z overflows",
        "kernels/softmax.py",
        "block_maximum = max(_row_maximum(scores[n]), out_maximum[n])",
        "block_maximum = scores.dtype.type(0.0)",
        "test_softmax::test_scores_far_from_zero",
        {"dtype": "float32", "shift": 500.0},
    ),
    Bug(
        "log Z over blocks of words without rescaling what was summed before",
        "kernels/softmax.py",
        "rescaled = out_sum[n] * ",
        "rescaled = out_sum[n] + 0.0 * ",
        "test_softmax::test_normaliser_in_blocks",
        {"dtype": "float64", "block": 4},
    ),
    # ---- found in other people's code, or made in trials: what training shows of them is benchmarks/study_faults.py
    Bug(
        "the LSTM's bias gradient missing",
        "layers/lstm.py",
        "dweight_hh, by_row.sum(axis=0))",
        "dweight_hh, np.zeros_like(by_row[0]))",
        "test_lstm::test_backward",
        {"dtype": "float64", "name": "bias"},
        trains=True,
    ),
    Bug(
        "the recurrent weights' gradient takes h_t for h_{t-1}",
        "layers/lstm.py",
        "h_before = by_position(h_read.reshape(",
        "h_before = by_position(h[1:].reshape(",
        "test_lstm::test_backward",
        {"dtype": "float64", "name": "weight_hh"},
        trains=True,
    ),
    Bug(
        "no gradient reaches the layer below",
        "layers/lstm.py",
        "dx = dx.reshape(*gates",
        "dx = 0 * dx.reshape(*gates",
        "test_lstm::test_backward",
        {"dtype": "float64", "name": "x"},
        trains=True,
    ),
    Bug(
        "the output gate's derivative without its factor o",
        "kernels/lstm.py",
        "tanh_c_t * o * (one - o)",
        "tanh_c_t * (one - o)",
        "test_lstm::test_backward",
        {"dtype": "float64", "name": "weight_ih"},
        trains=True,
    ),
    Bug(
        "the cell's gradient from the hidden state missing",
        "kernels/lstm.py",
        "dc_t = dc[b, j] + dh_t * o * (one - tanh_c_t * tanh_c_t)",
        "dc_t = dc[b, j] + 0 * dh_t * o * (one - tanh_c_t * tanh_c_t)",
        "test_lstm::test_backward",
        {"dtype": "float64", "name": "weight_ih"},
        trains=True,
    ),
    Bug(
        "the targets' part of the hidden states' gradient missing",
        "kernels/nce.py",
        "dh[j] += d * row[j]",
        "dh[j] += 0 * d * row[j]",
        "test_nce::test_backward",
        DOUBLE,
        trains=True,
    ),
    Bug(
        "the targets' part of the weight gradient missing",
        "kernels/nce.py",
        "dw[j] += d * h[j]",
        "dw[j] += 0 * d * h[j]",
        "test_nce::test_backward",
        DOUBLE,
        trains=True,
    ),
    Bug(
        "the sampler draws evenly, the loss takes the unigram",
        "noise/distribution.py",
        "AliasTable.from_probs(probs))",
        "AliasTable.from_probs(np.full(len(probs), 1 / len(probs))))",
        "test_model::test_noise_is_drawn_from_the_distribution_of_the_loss",
        {"power": 1.0, "uniform": 0.0},
        trains=True,
    ),
    Bug(
        "one noise group for all chunks",
        "noise/groups.py",
        "(chunk, sequence, epoch))",
        "(0, 0, 0))",
        "test_noise_groups::test_fresh_groups_are_all_different",
        trains=True,
    ),
    Bug(
        "the output bias starts at zero",
        "model.py",
        'params["decoder.bias"][...] = np.log(counts / counts.sum())',
        'params["decoder.bias"][...] = 0.0',
        "test_model::test_untrained_model_is_the_unigram_model",
        trains=True,
    ),
    Bug(
        "the state not carried from chunk to chunk",
        "training/trainer.py",
        "self.state, progress.non_finite = chunk.state, 0",
        "progress.non_finite = 0",
        "test_train::test_every_update_by_hand",
        {"num_shards": 1, "n": 88},
        trains=True,
    ),
    Bug(
        "the state reset at every sequence",
        "training/trainer.py",
        "carried, plan = self.state.columns(0, inputs.shape[1]), self._plan(span)",
        "carried, plan = self.model.zero_state(inputs.shape[1]) if span.chunk == 0 else"
        " self.state.columns(0, inputs.shape[1]), self._plan(span)",
        "test_train::test_every_update_by_hand",
        {"num_shards": 1, "n": 88},
        trains=True,
    ),
    Bug(
        "the state carried over into the next epoch",
        "training/trainer.py",
        "self.state = self.model.zero_state(self.streams.batch_size)",
        "pass",
        "test_train::test_every_update_by_hand",
        {"num_shards": 1, "n": 85},
        trains=True,
    ),
    Bug(
        "the gradient not clipped",
        "training/optim.py",
        "scale = min(1.0, self.clip / norm) if norm > 0 else 1.0",
        "scale = 1.0",
        "test_train::test_every_update_by_hand",
        {"num_shards": 1, "n": 88},
        trains=True,
    ),
    Bug(
        "the loss divided by the steps and not by the positions",
        "training/step.py",
        "1.0 / targets.size",
        "1.0 / len(targets)",
        "test_train::test_every_update_by_hand",
        {"num_shards": 1, "n": 88},
        trains=True,
    ),
    Bug(
        "the first shard's gradient taken for the sum",
        "training/step.py",
        "[part[name] for part in grads]",
        "[part[name] for part in grads[:1]]",
        "test_shards::test_sum_of_the_shards",
        {"num_shards": 2},
        trains=True,
    ),
    Bug(
        "weights packed once and never again",
        "training/step.py",
        "return self._pack(name)",
        "return (self.packed or {}).get(name)",
        "test_train::test_every_update_by_hand",
        {"num_shards": 1, "n": 88},
        trains=True,
    ),
    Bug(
        "a chunk's update left out now and then",
        "training/trainer.py",
        "self.shards.update(self.optimizer, chunk, self.last_lr)",
        "self.shards.update(self.optimizer, chunk, self.last_lr) if span.chunk % 4 else None",
        "test_train::test_every_update_by_hand",
        {"num_shards": 1, "n": 88},
        trains=True,
    ),
    Bug(
        "the chunks of a sequence backwards",
        "data/streams.py",
        "return split(self.full_steps, self.tail > 0, sequence_length, bptt)",
        "return sorted(split(self.full_steps, self.tail > 0, sequence_length, bptt),"
        " key=lambda span: (span.sequence, -span.chunk))",
        "test_train::test_every_update_by_hand",
        {"num_shards": 1, "n": 88},
        trains=True,
    ),
    Bug(
        "every second chunk never trained on",
        "data/streams.py",
        "return split(self.full_steps, self.tail > 0, sequence_length, bptt)",
        "return split(self.full_steps, self.tail > 0, sequence_length, bptt)[::2]",
        "test_train::test_every_update_by_hand",
        {"num_shards": 1, "n": 88},
        trains=True,
    ),
    Bug(
        "the learning rate never lowered",
        "training/schedule.py",
        "return _step_rate(config, epoch + 1)",
        "return rate",
        "test_schedule::test_step",
        trains=True,
    ),
    # ---- several ranks
    Bug(
        "ranks: the tree over shards is cut in the middle",
        "ranks/tree.py",
        "return start + (1 << ((stop - start - 1).bit_length() - 1))",
        "return (start + stop) // 2",
        "test_thread_ranks::test_exchange",
        {"shards": 7, "ranks": 3},
    ),
    Bug(
        "ranks: dense gradients added in the order of the ranks",
        "ranks/exchange.py",
        "total = fold(parts, cut, add)",
        "import functools; total = functools.reduce(add, parts)",
        "test_thread_ranks::test_exchange",
        {"shards": 7, "ranks": 6},
    ),
    Bug(
        "ranks: rows merged in the order of the ranks",
        "ranks/exchange.py",
        "self.sum = fold(grads, cut, add)",
        "self.sum = grads[0]; [setattr(self, 'sum', add(self.sum, grad)) for grad in grads[1:]]",
        "test_thread_ranks::test_exchange",
        {"shards": 7, "ranks": 6},
    ),
    Bug(
        "ranks: losses added in the order of the ranks",
        "ranks/exchange.py",
        "loss = fold(kinds[:live, 0].tolist(), cut, lambda a, b: sum((a, b)))",
        "loss = sum(kinds[:live, 0].tolist())",
        "test_thread_ranks::test_exchange",
        {"shards": 7, "ranks": 6},
    ),
    Bug(
        "ranks: each rank saves by its own clock",
        "training/trainer.py",
        "if self.ranks.first(lambda: is_due):",
        "if is_due:",
        "test_thread_ranks::test_checkpoints_are_due_by_the_clock_of_rank_0",
    ),
    Bug(
        "ranks: each rank stops for itself",
        "training/trainer.py",
        "return self.ranks.first(lambda: self.stopping or interrupted())",
        "return self.stopping or interrupted()",
        "test_thread_ranks::test_a_run_is_stopped_by_rank_0_and_resumed",
    ),
    Bug(
        "ranks: the optimiser's memory is put back on rank 0 only",
        "training/shared_run.py",
        "self.ranks.share([*model.params.values(), *optimizer.memory.values()])",
        "self.ranks.share([*model.params.values()])",
        "test_thread_ranks::test_a_run_is_stopped_by_rank_0_and_resumed",
    ),
    Bug(
        "ranks: a folder that rank 0 refuses is not refused by the others",
        "ranks/mpi.py",
        "raise FAILURES.get(name, InputError)(text)",
        "pass",
        "test_thread_ranks::test_what_fails_on_rank_0_fails_on_all",
    ),
    Bug(
        "ranks: parts of an evaluation merged in the order of the ranks",
        "scoring/evaluate.py",
        "total.merge(tallies[k % ranks.size][k // ranks.size])",
        "total.merge([tally for part in tallies for tally in part][k])",
        "test_thread_ranks::test_evaluation",
        {"reset": False},
    ),
    Bug(
        "ranks: sentences scored elsewhere are left out",
        "scoring/score.py",
        "for rank, (scores, log_z) in enumerate(ranks.gather(out)):",
        "for rank, (scores, log_z) in enumerate(ranks.gather(out)[:1]):",
        "test_thread_ranks::test_scores",
    ),
]


def plant(bug: Bug, folder: Path) -> None:
    """Copy the package to `folder` with the bug in it.  Raises LookupError if the line is not there once."""
    path = folder / "nplm" / bug.file
    shutil.copytree(ROOT / "nplm", folder / "nplm", ignore=shutil.ignore_patterns("__pycache__"))
    source = path.read_text(encoding="utf-8")
    if source.count(bug.old) != 1:
        raise LookupError(f"nplm/{bug.file} has not once but {source.count(bug.old)} times: {bug.old}")
    path.write_text(source.replace(bug.old, bug.new), encoding="utf-8")


def call(bug: Bug, folder: Path) -> None:
    """Call the bug's check on the package in `folder`, everything imported afresh."""
    for name in list(sys.modules):
        if name.split(".")[0] in ("nplm", "conftest", "golden", *RANKS) or name.startswith("test_"):
            del sys.modules[name]
    importlib.invalidate_caches()
    kept = sys.path[:]
    sys.path[:0] = [str(folder), str(ROOT / "tests")]
    try:
        module, function = bug.check.split("::")
        check = getattr(importlib.import_module(module), function)
        if str(folder) not in str(sys.modules["nplm"].__file__):
            raise RuntimeError(f"nplm was not imported from {folder}")
        arguments = {**bug.arguments}
        if "dtype" in arguments:
            arguments["dtype"] = getattr(np, arguments["dtype"])
        with np.errstate(all="ignore"):
            check(**arguments)
    finally:
        sys.path[:] = kept


def verdict(bug: Bug, folder: Path, *, planted: bool) -> str:
    """What the check says of the package with the bug, or without: "passes", "fails", or another error."""
    try:
        if planted:
            plant(bug, folder)
        call(bug, folder)
    except AssertionError:
        return "fails"
    except Exception as error:
        return repr(error)
    return "passes"


def main() -> None:
    """Every check with its bug, and without."""
    verdicts = {}
    with tempfile.TemporaryDirectory() as temporary:
        clean = Path(temporary, "clean")
        shutil.copytree(ROOT / "nplm", clean / "nplm", ignore=shutil.ignore_patterns("__pycache__"))
        for k, bug in enumerate(BUGS):
            verdicts[bug.name] = verdict(bug, Path(temporary, str(k)), planted=True)
            verdicts[CLEAN + bug.name] = verdict(bug, clean, planted=False)
    print(json.dumps(verdicts))


if __name__ == "__main__":
    main()
