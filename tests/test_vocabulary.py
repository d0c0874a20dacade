"""Oracle: the rules of the table written out by hand on small counts, and a round trip through bytes."""

import numpy as np
import pytest

from nplm.data.tokens import check_ids
from nplm.data.vocabulary import Vocabulary
from nplm.errors import InputError

COUNTS = {"the": 7, "cat": 3, "sat": 3, "a": 5, "</s>": 4, "once": 1, "rare": 1}


def test_ids_go_by_count_then_text_after_the_special_tokens() -> None:
    """Oracle: the order written out."""
    vocabulary = Vocabulary.from_counts(COUNTS)
    assert vocabulary.tokens == ("<unk>", "</s>", "the", "a", "cat", "sat", "once", "rare")
    assert vocabulary.counts.tolist() == [0, 4, 7, 5, 3, 3, 1, 1]
    assert vocabulary.counts.dtype == np.int64
    assert (len(vocabulary), vocabulary.unk, vocabulary.eos) == (8, 0, 1)
    assert not vocabulary.counts.flags.writeable


def test_order_does_not_depend_on_the_order_of_the_counts() -> None:
    """Oracle: the same counts given backwards."""
    assert Vocabulary.from_counts(dict(reversed(COUNTS.items()))) == Vocabulary.from_counts(COUNTS)


@pytest.mark.parametrize(
    ("limits", "tokens", "unk_count"),
    [
        ({"min_count": 2}, ("the", "a", "cat", "sat"), 2),
        ({"min_count": 3}, ("the", "a", "cat", "sat"), 2),
        ({"min_count": 4}, ("the", "a"), 8),
        ({"min_count": 8}, (), 20),
        ({"max_size": 5}, ("the", "a", "cat"), 5),
        ({"max_size": 99}, ("the", "a", "cat", "sat", "once", "rare"), 0),
        ({"max_size": 5, "min_count": 4}, ("the", "a"), 8),
        ({"words": ["sat", "dog", "the", "sat", "</s>", "<unk>"]}, ("the", "sat", "dog"), 10),
    ],
)
def test_words_cut_give_their_counts_to_unk(limits: dict, tokens: tuple[str, ...], unk_count: int) -> None:
    """Oracle: the words that stay and the sum of the others, by hand; </s> is never cut."""
    vocabulary = Vocabulary.from_counts(COUNTS, **limits)
    assert vocabulary.tokens[2:] == tokens
    assert vocabulary.counts[0] == unk_count
    assert vocabulary.counts[1] == 4
    assert vocabulary.counts.sum() == sum(COUNTS.values())


def test_a_literal_unk_in_the_text_is_counted_with_the_cut_words() -> None:
    """Oracle: 5 written + 1 + 1 cut."""
    assert Vocabulary.from_counts({**COUNTS, "<unk>": 5}, min_count=2).counts[0] == 7


def test_a_listed_word_that_was_not_seen_has_count_zero() -> None:
    """Oracle: the count by hand."""
    vocabulary = Vocabulary.from_counts(COUNTS, words=["dog"])
    assert vocabulary.counts[vocabulary.id("dog")] == 0


def test_encode_and_decode() -> None:
    """Oracle: ids by hand; an unknown word comes back as <unk>."""
    vocabulary = Vocabulary.from_counts(COUNTS)
    ids = vocabulary.encode(w for w in ["cat", "dog", "the", "</s>"])
    assert ids.dtype == np.int32
    assert ids.tolist() == [4, 0, 2, 1]
    assert vocabulary.decode(ids) == ["cat", "<unk>", "the", "</s>"]
    assert vocabulary.decode([2, 3]) == ["the", "a"]
    assert vocabulary.encode([]).shape == (0,)
    assert vocabulary.decode([]) == []
    assert [vocabulary.id(w) for w in ("sat", "dog", "<unk>", "</s>")] == [5, 0, 0, 1]
    assert "sat" in vocabulary
    assert "dog" not in vocabulary


def test_a_vocabulary_is_a_sequence_of_tokens() -> None:
    """Oracle: the tuple of its tokens."""
    vocabulary = Vocabulary.from_counts(COUNTS)
    tokens = vocabulary.tokens
    assert tuple(vocabulary) == tokens
    assert [vocabulary[i] for i in range(len(vocabulary))] == list(tokens)
    assert vocabulary[-1] == tokens[-1] == "rare"
    assert vocabulary[np.int32(2)] == "the"
    assert vocabulary[2:4] == ("the", "a")
    assert vocabulary[::-1] == tokens[::-1]
    with pytest.raises(IndexError):
        vocabulary[8]


def test_a_vocabulary_shows_its_size() -> None:
    """Oracle: the numbers by hand."""
    assert repr(Vocabulary.from_counts(COUNTS | {"the": 1007})) == "<Vocabulary of 8 tokens, total count 1,024>"


def test_a_string_is_not_a_list_of_tokens() -> None:
    """Oracle: letters are not words, so the call must fail."""
    vocabulary = Vocabulary.from_counts(COUNTS)
    with pytest.raises(TypeError, match="split it first"):
        vocabulary.encode("the cat")
    with pytest.raises(TypeError, match="collection of words"):
        Vocabulary.from_counts(COUNTS, words="the")


def test_bytes_round_trip() -> None:
    """Oracle: the bytes written out; reading them gives the same table, whatever the script."""
    small = Vocabulary.from_counts({"b": 2, "é": 2, "</s>": 1})
    assert small.to_bytes() == b"<unk>\t0\n</s>\t1\nb\t2\n\xc3\xa9\t2\n"
    odd = Vocabulary.from_counts({"日本": 2**62, "a\u200bb": 1, "#": 0, '"': 3, "\ufeff": 1, "\0": 1})
    assert Vocabulary.from_bytes(odd.to_bytes()) == odd
    cut = Vocabulary.from_counts(COUNTS, min_count=3)
    assert Vocabulary.from_bytes(cut.to_bytes()) == cut


def test_equality_looks_at_tokens_and_counts() -> None:
    """Oracle: tables that differ in one entry."""
    one = Vocabulary.from_counts(COUNTS)
    assert one != Vocabulary.from_counts({**COUNTS, "the": 8})
    assert one != Vocabulary.from_counts({**COUNTS, "dog": 0}, words=[*COUNTS, "dog"])
    assert hash(one) == hash(Vocabulary.from_counts(COUNTS))
    assert one != COUNTS


HEAD = b"<unk>\t0\n</s>\t1\n"


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (b"", "last line has no end"),
        (HEAD + b"a\t1", "last line has no end"),
        (HEAD + b"a\n", "line 3"),
        (HEAD + b"a\t1\n\n", "line 4"),
        (HEAD + b"a\t-1\n", "line 3"),
        (HEAD + b"a\t1.5\n", "line 3"),
        (HEAD + b"a\t1\t2\n", "line 3"),
        (HEAD + b"a\t" + b"9" * 5000 + b"\n", "line 3"),
        (HEAD + b"a\t" + b"9" * 19 + b"\n", "more than 2\\*\\*63"),
        (HEAD + b"\t1\n", "token 2 .* is empty"),
        (HEAD + b"a b\t1\n", "token 2 .* white space"),
        (HEAD + b"a\r\t1\n", "token 2 .* white space"),
        (HEAD + b"a\t1\nb\t1\na\t1\n", "'a' is in the vocabulary twice"),
        (HEAD + b"<s>\t1\n", "<s> cannot be in the vocabulary"),
        (b"</s>\t1\n<unk>\t0\n", "begins with <unk> and </s>"),
        (b"<unk>\t0\n", "begins with <unk> and </s>"),
        (HEAD + b"caf\xe9\t1\n", "byte 18 is not UTF-8"),
    ],
)
def test_damaged_bytes_are_named(table: bytes, message: str) -> None:
    """Oracle: each damage is planted; the message names its place, in one line."""
    with pytest.raises(InputError, match=message) as caught:
        Vocabulary.from_bytes(table)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("counts", "limits", "message"),
    [
        ({"a": -1}, {}, "count of 'a' is -1"),
        ({"a": 1.5}, {}, "not a whole number"),
        ({"a": True}, {}, "not a whole number"),
        ({"a": 2**62, "b": 2**62}, {}, "more than 2"),
        ({"a\tb": 1}, {}, "white space"),
        ({"a\vb": 1}, {}, "white space"),
        ({"": 1}, {}, "is empty"),
        ({"<s>": 1}, {}, "<s> cannot"),
        ({"\ud800": 1}, {}, "not valid Unicode"),
        ({3: 1}, {}, "3, is not a str"),
        ({"a": 1}, {"min_count": 0}, "min_count = 0"),
        ({"a": 1}, {"max_size": 2}, "max_size = 2"),
        ({"a": 1}, {"words": ["a"], "min_count": 2}, "word list"),
        ({"a": 1}, {"words": ["a"], "max_size": 9}, "word list"),
        ({"a": 1}, {"words": ["a b"]}, "white space"),
    ],
)
def test_bad_counts_and_limits_are_named(counts: dict, limits: dict, message: str) -> None:
    """Oracle: each mistake is planted; the message names it, in one line."""
    with pytest.raises(InputError, match=message) as caught:
        Vocabulary.from_counts(counts, **limits)
    assert "\n" not in str(caught.value)


def test_counts_must_match_tokens() -> None:
    """Oracle: three tokens, two counts."""
    with pytest.raises(InputError, match="3 tokens has 2 counts"):
        Vocabulary(["<unk>", "</s>", "a"], [1, 2])


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.uint32, np.int64, np.uint64])
def test_check_ids_takes_any_integers_in_range(dtype: type) -> None:
    """Oracle: the bounds themselves pass, one past them fails with the value and the range."""
    check_ids(np.array([[0, 99], [50, 7]], dtype=dtype), 100, "target")
    with pytest.raises(ValueError, match=r"^target id 100 is outside the vocabulary \[0, 100\)$"):
        check_ids(np.array([0, 100], dtype=dtype), 100, "target")


def test_check_ids_refuses_the_rest() -> None:
    """Oracle: a negative id, huge ids, and arrays that do not hold ids at all; no ids are fine."""
    with pytest.raises(ValueError, match=r"^noise id -1 is outside the vocabulary \[0, 10000\)$"):
        check_ids(np.array([3, -1]), 10000, "noise")
    with pytest.raises(ValueError, match=str(2**64 - 1)):
        check_ids(np.array([2**64 - 1], dtype=np.uint64), 10000, "noise")
    for array in (np.array([1.0]), np.array([True]), np.array(["1"]), np.array([None])):
        with pytest.raises(ValueError, match="input ids must be integers"):
            check_ids(array, 10, "input")
    check_ids(np.zeros((0, 3), dtype=np.int32), 10, "input")
    with pytest.raises(InputError, match="token id 8"):
        Vocabulary.from_counts(COUNTS).decode([1, 8])
