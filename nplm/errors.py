"""The package's exceptions: the input is wrong, or the training diverged."""

import re

LONGEST = 1000  # characters of a message
# what moves a terminal's cursor, changes its colours or its title, or reorders a line: controls, and bidi overrides
CONTROLS = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str) -> str:
    """A line with its control characters escaped, so that text from a file cannot control the terminal."""
    return CONTROLS.sub(lambda match: ascii(match[0])[1:-1], text)


def shortened(text: str, longest: int = LONGEST) -> str:
    """A text, with its middle left out if it is too long: what is wrong and the remedy are at its ends."""
    if len(text) <= longest:
        return text
    half = longest // 2
    return f"{text[:half]} [... {len(text) - 2 * half:,} characters ...] {text[-half:]}"


class InputError(ValueError):
    """Bad input.  The message is one line: what is wrong, where, with which value, and what to do.

    It is a ValueError, so that programs that do not know nplm can catch it.  Messages name settings by field, in
    backticks.  Text quoted from a file is escaped and shortened.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(shortened(visible(str(message))))


class NotFiniteError(InputError):
    """Numbers to be saved are NaN or infinite: the file is not written, and an older one is kept."""


class DivergedError(ArithmeticError):
    """Training stopped because it produced numbers that are not finite; the model is in its last good state."""
