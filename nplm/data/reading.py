"""What watches the reading of texts: how far it is, and what a user should know about the text."""

import logging


class Reading:
    """Base class of observers of reading: override the methods of interest.

    Given to `load_corpus(..., reading=...)`.  Here progress is not shown, and a warning is a line of the logger "nplm".
    """

    def begin(self, what: str, name: str, size: int) -> None:
        """A text is about to be read.

        Parameters
        ----------
        what : str
            What is done with it: "counting", "encoding", "copying" or "checking".
        name : str
        size : int
            Bytes of all its files, compressed as they are; 0 where that is not known, as of a pipe.
        """

    def advance(self, size: int, lines: int = 0, tokens: int = 0) -> None:
        """More of it was read.

        Parameters
        ----------
        size : int
            Bytes read so far, of those that `begin` counted.
        lines, tokens : int
            Lines and tokens read so far; 0 where they are not counted.
        """

    def end(self) -> None:
        """It was read to its end."""

    def compiling(self) -> None:
        """The kernels that read words are about to be compiled, or loaded."""

    def warning(self, text: str) -> None:
        """Something is odd but not wrong.

        Parameters
        ----------
        text : str
            One line, with settings in backticks.
        """
        logging.getLogger("nplm").warning("nplm: warning: %s", text)
