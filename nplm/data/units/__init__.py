"""Units: what a line of text is split into before it is counted, encoded and predicted.

    line  --split-->  units  --Vocabulary.encode-->  ids        and back:  ids  --decode-->  units  --join-->  line

word        separated by white space (words.py)
char        code points of the raw text (characters.py)
grapheme    extended grapheme clusters, the characters that a reader sees (characters.py)
spm:FILE    pieces of a sentencepiece model (sentencepiece.py)
hf:FILE     tokens of one of Hugging Face's tokenizers (tokenizer.py)

Decision 0014: how units are written and stored.  Decision 0015: what separates words.
"""

from nplm.data.units.stored import describe, open_unit, restore, version_note
from nplm.data.units.symbols import symbol, text_of
from nplm.data.units.unit import Unit
from nplm.data.units.words import FIRST_RULE, WHITE_SPACE, WORDS, Words, toolkit_words

__all__ = [
    "FIRST_RULE",
    "WHITE_SPACE",
    "WORDS",
    "Unit",
    "Words",
    "describe",
    "open_unit",
    "restore",
    "symbol",
    "text_of",
    "toolkit_words",
    "version_note",
]
