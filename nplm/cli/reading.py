"""Progress of reading texts: a bar on a terminal, an occasional line elsewhere; all on stderr."""

import sys
import time
from typing import Any

from nplm.cli.errors import with_flags
from nplm.cli.output import say, seen
from nplm.cli.progress import duration
from nplm.data.reading import Reading

FIRST, EVERY = 0.5, 10.0  # seconds until the first line is written, and between later lines
LARGE = 16 * 2**20  # bytes of a text whose reading is announced at once
MB = 1e6


class Watch(Reading):
    """Shows the progress of reading texts; a context manager, so that the bar is removed at the end."""

    def __init__(self) -> None:
        self.bar: Any = None
        self.what, self.size = "", 0
        self.start = self.shown = 0.0  # seconds
        self.spoken = False
        self.last = (0, 0, 0)  # bytes, lines, tokens

    def __enter__(self) -> "Watch":
        return self

    def __exit__(self, *error: object) -> None:
        self._close()

    def begin(self, what: str, name: str, size: int) -> None:
        self._close()
        self.what, self.size, self.last = f"{what} {name}", size, (0, 0, 0)
        self.start = time.monotonic()
        self.shown, self.spoken = self.start + FIRST - EVERY, False
        if size > LARGE and what != "checking":
            self._show()

    def advance(self, size: int, lines: int = 0, tokens: int = 0) -> None:
        self.last = size, lines, tokens
        if self.bar is not None:
            self.bar.set_postfix_str(f"{lines:,} lines, {self._rate():,.0f} tokens/s", refresh=False)
            self.bar.update(max(size - self.bar.n, 0))
        elif time.monotonic() >= self.shown + EVERY:
            self._show()

    def end(self) -> None:
        if self.spoken and self.last[1]:
            size, lines, tokens = self.last
            took = time.monotonic() - self.start
            counted = f"{size / MB:,.1f} MB, {lines:,} lines, {tokens:,} tokens"
            self._write(f"{self.what}: {counted}, done in {duration(took)}")
        self._close()

    def compiling(self) -> None:
        from nplm.cli.common import announce_kernels

        announce_kernels("words")

    def warning(self, text: str) -> None:
        self._write(f"warning: {with_flags(text)}")

    def _show(self) -> None:
        self.shown, self.spoken = time.monotonic(), True
        if sys.stderr.isatty():
            from tqdm import tqdm

            form = dict(unit="B", unit_scale=True, dynamic_ncols=True, leave=False, file=sys.stderr)
            self.bar = tqdm(total=self.size or None, initial=self.last[0], desc=seen(self.what), **form)
            return
        size, lines, tokens = self.last
        passed = self.shown - self.start
        of = f" of {self.size / MB:,.1f}" if self.size else ""
        parts = [f"{size / MB:,.1f}{of} MB"]
        if tokens:
            parts += [f"{lines:,} lines", f"{self._rate():,.0f} tokens/s"]
        if self.size and size:
            parts.append(f"{duration(passed * (self.size - size) / size)} left")
        say(f"{self.what}: {', '.join(parts)}")

    def _rate(self) -> float:
        return self.last[2] / max(time.monotonic() - self.start, 1e-9)

    def _write(self, text: str) -> None:
        if self.bar is not None:
            self.bar.write(seen(text), file=sys.stderr)
        else:
            say(text)

    def _close(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None
