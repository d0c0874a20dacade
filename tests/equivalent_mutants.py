"""Mutants that survive because they change no value, each with the reason; found by tests/mutants.py, read one by one.

Three reasons recur. SPEED: the result is the same and only the time or the memory differs. MESSAGE: the text of an
error. UNREACHED: the code runs with the JIT or on another processor only, so a mutant of it is not seen here.
"""

SPEED, UNREACHED = "the same result, slower or in more memory", "not run as plain Python"
EQUIVALENT: dict[str, str] = {
    "layers/workspace.py Workspace.empty: buffer.size < size -> buffer.size <= size": SPEED,
    "network.py _factors: dropout.recurrent > 0 -> dropout.recurrent >= 0": SPEED,  # a mask of ones
    "layers/dropout.py Dropout.input_words: self.words > 0 -> self.words >= 0": SPEED,  # a mask of ones
    "layers/objective.py Objective: False -> True": "a default that is never used: make_objective gives every value",
    "layers/objective.py Objective: 0.0 -> 1.0": "a default that is never used: make_objective gives every value",
    "layers/row_gradient.py sum_by_row: 0 -> 1": SPEED,  # neighbouring ids are sorted once more
    "kernels/alias.py draw: bits[:count + count % 2] -> bits[:count + count % 2 + 1]": "bits are filled in pairs",
    "kernels/bfloat16.py : False -> True": "a default that no Numba takes: all have the setting",
    "training/step.py Shards._sums: True -> False": "zip of tuples that have the same length in any case",
    "kernels/lstm.py _cell: 3 -> 4": "a slice that is longer than what is read of it",
    "kernels/lstm.py step_backward: 3 -> 4": "a slice that is longer than what is read of it",
    "layers/lstm.py forward: 1 -> 2 #2": "NumPy takes any negative length for the one to find",
    "layers/matmul.py operand: 1 -> 2": "NumPy takes any negative length for the one to find",
    "layers/sampled_softmax.py _hits: 1 -> 2": "any negative number stands for no place",
    "layers/objective.py make_objective: 0.0 -> 1.0": "every caller whose objective has a penalty gives it",
    "kernels/matmul.py multiply_panels: 2 * rest <= step -> 2 * rest < step": SPEED,  # two vectors where one is enough
    "kernels/matmul.py multiply_flat: vectors = 1 if 2 * rest <= step else 2 -> pass": SPEED,  # the same
    "kernels/matmul.py multiply_flat: groups - 1 - turn if backwards else turn -> groups - 1 - turn"
    " if not backwards else turn": SPEED,  # the other way through the panels
    "kernels/matmul.py _put_aside: aside[m * step + j] = 0 -> pass": SPEED,  # padding; what was there may be subnormal
    "kernels/tile.py _emit_tile: 8 -> 9 #3": "to LLVM, a pointer is a pointer, whatever it points to",
    "kernels/tile.py _portable.multiply_add: (left_low, left_high), (right_low, right_high) = (left, right) -> pass": (
        UNREACHED + "; compiled where the processor has no vdpbf16ps: tests/test_bfloat16.py masks it off"
    ),
    "kernels/tile.py : 4 -> 5 #3": UNREACHED + "; compiled where the processor has no AVX-512",
    "kernels/elementary.py : 15 -> 16": "one factorial more than any polynomial has terms",
    "kernels/lstm.py sweep_forward: 1 -> 2": SPEED,  # never backwards through the panels
    "kernels/matmul.py multiply_flat: rest > 0 -> rest >= 0 #2": SPEED,  # loops over no columns
    "layers/lstm.py forward: 0 -> 1 #6": "an array that holds nothing in any case",
    "training/optim.py Optimizer.averaged: 0 -> 1 #2": "after `settle`, both clocks are the current step",
    "training/step.py Shards._by_name: True -> False": "zip of two lists that have the same length in any case",
}
