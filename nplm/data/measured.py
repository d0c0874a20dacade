"""A text's ids together with the size of the raw text, for figures per byte and per character."""

from collections.abc import Iterator

from nplm.data.cache import Cache
from nplm.data.encode import encode
from nplm.data.mapped import Ids
from nplm.data.reading import Reading
from nplm.data.size import Meter, TextSize
from nplm.data.sources import Texts, find_sources
from nplm.data.text import open_text
from nplm.data.units import WORDS, Unit
from nplm.data.vocabulary import Vocabulary


def read_measured(
    texts: Texts, vocabulary: Vocabulary, unit: Unit = WORDS, *, reading: Reading | None = None
) -> tuple[Ids, TextSize]:
    """`read_ids`, and the size of the raw text, in one pass."""
    reading = reading or Reading()
    return encode(find_sources(texts, reading), vocabulary, unit, Cache(None, reading), reading, measured=True)


def measure_text(texts: Texts, vocabulary: Vocabulary, unit: Unit = WORDS) -> TextSize:
    """The size of a raw text, and of the part that the vocabulary does not know."""
    meter = Meter()
    for _ in open_measured(texts, vocabulary, unit, meter):
        pass
    return meter.size


def open_measured(texts: Texts, vocabulary: Vocabulary, unit: Unit, meter: Meter) -> Iterator[list[str]]:
    """`open_text`, with every line and unknown unit counted by the meter."""
    for units in open_text(texts, unit, meter):
        meter.unknown([unit for unit in units if unit not in vocabulary])
        yield units
