"""What watches the reading of texts: how far it is, and what a user should know about the text."""

import warnings

from nplm.errors import InputWarning


class Reading:
    """Base class of observers of reading: override the methods of interest.

    Given to `load_corpus(..., reading=...)`.  Here progress is not shown, and a warning is one of Python's, of the
    category `InputWarning`.
    """

    def begin(self, what: str, name: str, size: int | None) -> None:
        """A text is about to be read.

        Parameters
        ----------
        what : str
            What is done with it: "counting" or "encoding".
        name : str
        size : int or None
            Bytes of all its files, compressed as they are; None where it comes from a pipe.
        """

    def advance(self, size: int, lines: int, tokens: int) -> None:
        """More of it was read.

        Parameters
        ----------
        size : int
            Bytes read so far, of those that `begin` counted.
        lines, tokens : int
            Lines and tokens read so far.
        """

    def end(self) -> None:
        """It was read to its end."""

    def warning(self, text: str) -> None:
        """Something is odd but not wrong.

        Parameters
        ----------
        text : str
            One line, with settings in backticks.
        """
        warnings.warn(text, InputWarning, stacklevel=2)
