"""The two ways a run can end badly: the input is wrong, or the training diverged."""


class InputError(ValueError):
    """Bad input. The message is one line: what is wrong, where, with its value, and what to do."""


class DivergedError(ArithmeticError):
    """Training met several non-finite chunks in a row; the model was rolled back to its last good state."""
