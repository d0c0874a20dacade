"""A text's ids together with the size of the raw text, which figures per byte and per character are taken over."""

from collections.abc import Iterator

from nplm.data.encode import Ids, read_ids
from nplm.data.size import Meter, TextSize
from nplm.data.text import TextPath, open_text
from nplm.data.units import WORDS, Unit
from nplm.data.vocabulary import Vocabulary


def read_measured(path: TextPath, vocabulary: Vocabulary, unit: Unit = WORDS) -> tuple[Ids, TextSize]:
    """`read_ids`, and the size of the raw text: in one pass, but for a large text, whose ids are kept on disk."""
    meter = Meter()
    ids = read_ids(path, vocabulary, unit, meter=meter)
    return ids, meter.size if meter.size.lines else measure_text(path, vocabulary, unit)


def measure_text(path: TextPath, vocabulary: Vocabulary, unit: Unit = WORDS) -> TextSize:
    """The size of a raw text, and what the vocabulary does not know of it."""
    meter = Meter()
    for _ in open_measured(path, vocabulary, unit, meter):
        pass
    return meter.size


def open_measured(path: TextPath, vocabulary: Vocabulary, unit: Unit, meter: Meter) -> Iterator[list[str]]:
    """`open_text`, counted by the meter."""
    for units in open_text(path, unit, meter):
        meter.unknown([unit for unit in units if unit not in vocabulary])
        yield units
