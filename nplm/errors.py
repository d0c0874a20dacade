"""The ways a run can end badly: the input is wrong, or the training diverged."""


class InputError(ValueError):
    """Bad input.  The message is one line: what is wrong, where, with its value, and what to do.

    A ValueError, so that programs that know nothing of nplm catch it.  Settings are named by field, in backticks.
    """


class NotFiniteError(InputError):
    """Numbers that are NaN or infinite where a file is to be written: it is not, and the one before stays."""


class DivergedError(ArithmeticError):
    """Training met numbers that are not finite, and could not go on; the model is back at its last good state."""
