r"""Symbols: how a unit that is not a plain word is written in a vocabulary, on a screen and in a file.

    text         symbol
    space        ▁              U+2581, as sentencepiece writes it
    ▁            \▁
    \            \\
    invisible    \u{200d}       white space, control and format characters, lone surrogates: by code point
    <unk>        \<unk>         also <s> and </s>, if the whole unit is spelled so

All other text is its own symbol.  No two texts have the same symbol, no symbol contains white space, and none is
<s>, </s> or <unk>.  The list of invisible characters is fixed here, not taken from Python's tables, which change from
version to version while a model's vocabulary does not.
"""

import re

from nplm.data.tokens import BOS, EOS, UNK

SPACE = "\u2581"  # ▁
INVISIBLE = (
    "\0-\x1f\x7f-\xa0\xad\u034f\u061c\u115f\u1160\u1680\u17b4\u17b5\u180e\u2000-\u200f\u2028-\u202f\u205f-\u206f"
    "\u3000\u3164\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff\ud800-\udfff\U000e0000-\U000e0fff"
)
_SPECIAL = re.compile(rf"[ {SPACE}\\{INVISIBLE}]")
_SYMBOL = re.compile(rf"{SPACE}|\\u\{{([0-9a-f]{{1,6}})\}}|\\(.)")
_MARKS = {UNK, BOS, EOS}


def symbol(text: str) -> str:
    """The symbol of a unit's text."""
    if text in _MARKS:
        return f"\\{text}"
    return _SPECIAL.sub(_write, text)


def text_of(symbol: str) -> str:
    """The text of a unit's symbol.  For <unk>, whose text is not known, this is <unk>."""
    return _SYMBOL.sub(_read, symbol)


def _write(match: re.Match[str]) -> str:
    sign = match[0]
    if sign == " ":
        return SPACE
    return f"\\{sign}" if sign in (SPACE, "\\") else f"\\u{{{ord(sign):x}}}"


def _read(match: re.Match[str]) -> str:
    if match[0] == SPACE:
        return " "
    if match[1] is None:
        return match[2]
    code = int(match[1], 16)
    return chr(code) if code <= 0x10FFFF else match[0]
