"""The two ways a run can end badly: the input is wrong, or the training diverged."""


class InputError(ValueError):
    """Bad input.  The message is one line: what is wrong, where, with its value, and what to do.

    A ValueError, so that programs that know nothing of nplm catch it.  Settings are named by field, in backticks.
    """


class DivergedError(ArithmeticError):
    """Training met several non-finite chunks in a row; the model is back at its last good state."""


class InputWarning(UserWarning):
    """Input that can be used, but is probably not what was meant."""
