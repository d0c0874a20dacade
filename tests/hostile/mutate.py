"""Changes that break a file: of its bytes, its words, its JSON, its tensors.  Every choice is taken from `rng`.

The fast tests give a `random.Random` of hypothesis, which shrinks what fails to the simplest choices; the long version
gives a plain one, which is a thousand times as fast.
"""

import copy
import json
from random import Random
from typing import Any

import numpy as np

DEEP, LONG = "@deep@", "@long@"  # in JSON: nesting that Python's parser gives up on, a number of 5,000 digits
ODD_VALUES = (
    *(None, True, False, 0, 1, -1, 2, 0.5, -0.5, 1e-300, 1e300, float("inf"), float("-inf"), float("nan")),
    *(2**31, 2**31 - 1, 2**62, 2**63, 2**64, -(2**63), 10**40, 10**400),
    *("", "x", "1", "word", "\x1b[1m", "<b>", "a" * 2000),
    *([], [1], [[]], {}, {"a": 1}, {"": None}, DEEP, LONG),
)  # fmt: skip
ODD_BYTES = (
    *(b"", b"\0", b"\xff", b"\xfe\xff", b"\xef\xbb\xbf", b"\r", b"\r\n", b"\n", b"\n\n", b"\t", b" ", b"\v", b"\x1c"),
    *(b"\xc2\xa0", b"\xe2\x80\xa8", b"\xe3\x80\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"nan", b"-inf", b"1e999"),
    *(b"1_0", b"0x10", b"-0", b"\xd9\xa3", b"[", b"]", b"{", b"}", b'"', b"\\", b"</s>", b"<s>", b"<unk>", b"a" * 300),
    *(b"\x7f" * 8, b"\xff" * 8, b"\0" * 64, b"999999999999999999999", b"\x1f\x8b", b"NBestList1.0", b"p( ", b"*2"),
)  # fmt: skip
ODD_WORDS = tuple(part.decode("utf-8", "surrogateescape") for part in ODD_BYTES)
ODD_TYPES = ("<f2", "<f4", "<f8", "<i4", "<i8", "<u1", "<i1", "?")
ODD_NUMBERS = (float("nan"), float("inf"), -1.0, 1e38, 1e-45, 0.0, 2.0**62, -(2.0**63))


def of_bytes(rng: Random, data: bytes) -> bytes:
    """One to three small changes of bytes: flipped, set, cut off, left out, put in, doubled, exchanged."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        _change_bytes(rng, changed)
    return bytes(changed)


def _change_bytes(rng: Random, data: bytearray) -> None:
    how, size = rng.randrange(8), len(data)
    a = rng.randrange(size) if size else 0
    b = min(size, a + rng.choice((1, 2, 4, 8, 40)))
    if how == 0 and size:
        data[a] ^= 1 << rng.randrange(8)
    elif how == 1 and size:
        data[a] = rng.randrange(256)
    elif how == 2:
        del data[a:]
    elif how == 3:
        del data[a:b]
    elif how == 4:
        data[a:a] = rng.choice(ODD_BYTES)
    elif how == 5:
        data[a:a] = data[a:b]
    elif how == 6:
        data[a:b] = rng.choice(ODD_BYTES)
    elif size:
        c = rng.randrange(size)
        data[a], data[c] = data[c], data[a]


def of_lines(rng: Random, text: str, separator: str = " ") -> str:
    """One to three changes of words and lines of a text: replaced, left out, doubled, exchanged."""
    lines = [line.split(separator) for line in text.split("\n")]
    for _ in range(rng.randint(1, 3)):
        k = rng.randrange(len(lines))
        line, how = lines[k], rng.randrange(8)
        n = rng.randrange(len(line)) if line else 0
        if how == 0 and line:
            line[n] = rng.choice(ODD_WORDS)
        elif how == 1 and line:
            del line[n]
        elif how == 2:
            line.insert(n, rng.choice(ODD_WORDS))
        elif how == 3 and line:
            line.insert(n, line[n])
        elif how == 4:
            lines.insert(k, list(line))
        elif how == 5 and len(lines) > 1:
            del lines[k]
        elif how == 6:
            other = rng.randrange(len(lines))
            lines[k], lines[other] = lines[other], lines[k]
        elif line:
            line[n] = line[n] + rng.choice(ODD_WORDS)
    return "\n".join(separator.join(line) for line in lines)


def of_text(rng: Random, text: str, separator: str = " ") -> bytes:
    """A text's bytes, as they are, with other words, or with other bytes."""
    how = rng.randrange(6)
    changed = of_lines(rng, text, separator) if how in (1, 2, 3, 4) else text
    data = changed.encode("utf-8", "surrogateescape" if rng.randrange(2) else "replace")
    return of_bytes(rng, data) if how in (4, 5) else data


def of_json(rng: Random, value: Any) -> Any:
    """A copy of a value out of JSON with one or two of its parts replaced, left out, added, or under another name."""
    changed = copy.deepcopy(value)
    for _ in range(rng.randint(1, 2)):
        places = list(_places(changed))
        if not places or rng.randrange(20) == 0:
            return copy.deepcopy(rng.choice(ODD_VALUES))
        inside, key = places[rng.randrange(len(places))]
        how = rng.randrange(6)
        if how < 3:
            inside[key] = copy.deepcopy(rng.choice(ODD_VALUES))  # the next change may be in it
        elif how == 3:
            del inside[key]
        elif how == 4 and isinstance(inside, dict):
            inside[rng.choice(("", "x", "<b>", "epoch", f"{key} ", str(key).upper()))] = copy.deepcopy(inside[key])
        else:
            other, name = places[rng.randrange(len(places))]
            inside[key] = copy.deepcopy(other[name]) if name in _keys(other) else None
    return changed


def _keys(part: Any) -> Any:
    return part.keys() if isinstance(part, dict) else range(len(part))


def _places(value: Any) -> Any:
    """Every part of a value: what it stands in, and where."""
    if isinstance(value, (dict, list)):
        for key in list(_keys(value)):
            yield value, key
            yield from _places(value[key])


def to_json(value: Any) -> str:
    """JSON, with what Python's writer refuses to write or cannot."""
    text = json.dumps(value)
    return text.replace(f'"{DEEP}"', "[" * 100_000 + "]" * 100_000).replace(f'"{LONG}"', "9" * 5000)


def of_json_text(rng: Random, value: Any) -> str:
    """The JSON of a value, changed in one of its parts, or in its text."""
    if rng.randrange(4):
        return to_json(of_json(rng, value))
    return of_bytes(rng, json.dumps(value).encode()).decode("utf-8", "replace")


def of_tensors(rng: Random, tensors: dict[str, Any]) -> dict[str, Any]:
    """A copy of named arrays with one or two of them gone, renamed, of another type, shape or content."""
    changed = dict(tensors)
    for _ in range(rng.randint(1, 2)):
        names = sorted(changed)
        if not names:
            break
        name = rng.choice(names)
        value, how = changed[name], rng.randrange(10)
        if how == 0:
            del changed[name]
        elif how == 1:
            changed[rng.choice((f"{name}x", "x", name.upper(), name.removeprefix("run."), ""))] = changed.pop(name)
        elif how == 2:
            with np.errstate(all="ignore"):
                changed[name] = value.astype(rng.choice(ODD_TYPES))
        elif how == 3:
            value = np.atleast_1d(value) if value.size else np.zeros(3, value.dtype)
            shapes = (value[None], value.reshape(-1), value[:-1], value[:0], value.T, value.reshape(-1)[:1].reshape(()))
            changed[name] = np.ascontiguousarray(rng.choice(shapes))
        elif how == 4:
            other = changed[rng.choice(names)] if name in changed else value
            changed[name] = other
        elif value.size:
            changed[name] = one_number(rng, value)
    return changed


def one_number(rng: Random, value: Any) -> Any:
    """A copy of an array with one entry replaced, by an odd number or by one near it."""
    copied = np.array(value)
    at = rng.randrange(copied.size)
    with np.errstate(all="ignore"):
        odd = float(copied.flat[at]) + rng.choice((-1, 1, 7)) if rng.randrange(2) else rng.choice(ODD_NUMBERS)
        copied.flat[at] = np.array(odd, np.float64).astype(copied.dtype)
    return copied
