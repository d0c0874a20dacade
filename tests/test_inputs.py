"""What a user gives as a sentence, a list, a vocabulary.  Oracles: the same in its plain form, planted mistakes."""

import numpy as np
import pytest
from conftest import make_model

import nplm as package
from nplm.errors import InputError
from nplm.export import read_tokens
from nplm.scoring.generate import next_words, sample
from nplm.scoring.score import score_batch
from nplm.storage.checkpoint import save_model


@pytest.fixture(scope="module")
def model():
    return make_model(np.float32, vocab=30, hidden=8, embed=5, layers=1)


@pytest.fixture
def path(model, tmp_path):
    save_model(model, tmp_path / "m.safetensors")
    return tmp_path / "m.safetensors"


def test_bytes_text_and_words_are_one_sentence(model):
    """The text."""
    for given in (b"w3 w4", ["w3", "w4"], ("w3", b"w4"), "w3 w4\n"):
        assert next_words(model, given) == next_words(model, "w3 w4")
        assert score_batch(model, [given]) == score_batch(model, ["w3 w4"])
        assert sample(model, np.random.default_rng(1), prompt=given) == sample(
            model, np.random.default_rng(1), prompt="w3 w4"
        )


def test_what_is_no_sentence_is_refused(model):
    """Planted: numbers, a sentence in a list of words, one sentence for many, bytes among tokens."""
    for given in (3, None):
        with pytest.raises(TypeError, match="a sentence must be a str, bytes or a list of words"):
            next_words(model, given)
    with pytest.raises(InputError, match="'w3 w4' in a list of words contains white space"):
        next_words(model, ["w3 w4"])
    for given in ("w3 w4", b"w3 w4"):
        with pytest.raises(TypeError, match="takes a list of sentences"):
            score_batch(model, given)
        with pytest.raises(TypeError, match="split it first"):
            model.vocabulary.encode(given)
    with pytest.raises(TypeError, match="token 0 is bytes"):
        model.vocabulary.encode([b"w3"])
    with pytest.raises(TypeError, match="a token must be a str"):
        model.vocabulary.id(b"w3")


def test_kenlm_divides_as_kenlm_does(model):
    """bytes.split, which kenlm's module uses."""
    kenlm = package.Model(model)
    for line in ("w3\xa0! w4", "w3\u3000w4", "w3\u2028 w4\x85\x1c", " w3\t\vw4 \r"):
        assert len(list(kenlm.full_scores(line))) == len(line.encode().split()) + 1
        assert kenlm.score(line) == pytest.approx(sum(x[0] for x in kenlm.full_scores(line)), rel=1e-5)


def test_rescore_prints_the_words_it_was_given(nplm, path, tmp_path):
    """The list's own line; unknown words are counted, -pau- is not scored."""
    (tmp_path / "u").write_text("-1 -1 3 w3\xa0! -pau- w4\n", encoding="utf-8")
    got = nplm("rescore", path, tmp_path / "u", "--json")
    assert got.out.splitlines()[0] == "u w3\xa0! -pau- w4"
    assert (got.figures["words"], got.figures["unknown"]) == (2, 1) and "1 of 2 words are unknown" in got.err


@pytest.mark.parametrize("words", ["17 23 4", "W3 W4"])
def test_a_list_of_another_world_is_refused(words, refused, path, tmp_path):
    """Planted: ids, and upper case."""
    (tmp_path / "u").write_text(f"-1 -1 3 {words}\n-1 -1 1 {words.split()[0]}\n")
    said = refused("rescore", path, tmp_path / "u")
    assert "the model knows none of the first" in said and words.split()[0] in said


def test_interleaved_utterances_and_empty_lines(nplm, path, tmp_path):
    """Planted: `sort` of the hypotheses of a and a-1; an empty last line is none."""
    (tmp_path / "k").write_text("a-1 w3\na-1-1 w4\na-2 w5\n")
    assert (
        "more hypotheses of 'a', whose list has ended" in nplm("rescore", path, tmp_path / "k", "--format", "kaldi").err
    )
    (tmp_path / "k").write_text("a-1 w3\n\na-2 w5\n\n")
    assert nplm("rescore", path, tmp_path / "k", "--format", "kaldi").code == 0


def test_mix_reads_words_with_other_white_space(nplm, tmp_path):
    """The perplexity by hand of two equal files."""
    line = "\tp( mot\xa0! | <s> ) \t= [2gram] 0.1 [ -1 ]\n"
    for name in "ab":
        (tmp_path / name).write_text(line * 3, encoding="utf-8")
    assert nplm("mix", tmp_path / "a", tmp_path / "b", "--json").figures["perplexity"] == pytest.approx(10)


def test_ids_are_not_counts(tmp_path):
    """Planted: ids in order, and in any order where they are many; counts stay counts, an empty line is none."""
    place = tmp_path / "v"
    for ids in (range(5), range(1, 6), [*range(29, -1, -1)]):
        place.write_text("".join(f"w{k}\t{k}\n" for k in ids))
        with pytest.raises(InputError, match="ids, not counts"):
            read_tokens(place)
    place.write_text("a\t3\nb\t2\nc\t1\n\n")
    assert read_tokens(place).counts == [3, 2, 1]
