"""Observers of the reading of texts: progress, and warnings about the text."""

import logging


class Reading:
    """Base class of observers of reading: override the methods of interest.

    Passed to `load_corpus(..., reading=...)`.  This class shows no progress and logs warnings to the logger "nplm".
    """

    def begin(self, what: str, name: str, size: int) -> None:
        """A text is about to be read.

        Parameters
        ----------
        what : str
            What will be done with it: "counting", "encoding", "copying" or "checking".
        name : str
        size : int
            Bytes of all its files, before decompression; 0 if that is not known, as for a pipe.
        """

    def advance(self, size: int, lines: int = 0, tokens: int = 0) -> None:
        """More of the text has been read.

        Parameters
        ----------
        size : int
            Bytes read so far, of those that `begin` counted.
        lines, tokens : int
            Lines and tokens read so far; 0 if they are not counted.
        """

    def end(self) -> None:
        """The text has been read to its end."""

    def compiling(self) -> None:
        """The kernels that split and count words are about to be compiled, or loaded."""

    def warning(self, text: str) -> None:
        """Something about the text is odd but not wrong.

        Parameters
        ----------
        text : str
            One line, with settings in backticks.
        """
        logging.getLogger("nplm").warning("nplm: warning: %s", text)
