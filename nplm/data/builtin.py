"""Built-in corpora, which need no download: `python`, and the synthetic sources `markov` and `hmm`.

`python` is text that comes with every CPython: the reference texts of help() (pydoc_data.topics) and the
docstrings of the standard library, read from its sources without importing them.

    documents   a docstring, or a section of a reference text
    paragraphs  duplicates are dropped, so that no two parts share a paragraph
    sentences   one per line; tokens are words, N for a number, and punctuation marks or runs of the same mark
    parts       by a hash of the document: 18/20 train, 1/20 valid, 1/20 test
"""

import ast
import hashlib
import platform
import re
import sysconfig
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

from nplm.config import CORPORA
from nplm.data.corpus import Corpus, unigram_perplexity
from nplm.data.synthetic import load_hmm, load_markov
from nplm.data.tokens import EOS
from nplm.data.vocabulary import Vocabulary
from nplm.errors import InputError

MIN_COUNT = 3  # a word rarer than this in the training part is <unk>
MIN_MODULES = 100  # fewer modules with docstrings than this: the sources were stripped
SKIPPED_FOLDERS = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"}
ELSEWHERE = "use the `corpus` markov or hmm, or a text of your own"

Sentence = list[str]  # its tokens, without </s>
Paragraph = list[Sentence]

_HEADING = re.compile(r"\n\n(?=[^\n]+\n[*=~^-]{3,}\n)")  # before a title and the line under it
_BLANK = re.compile(r"\n\s*\n")
_SENTENCE = re.compile(r'(?<=[.?!])\s+(?=[A-Z"*`(])|\n\s*(?=>>>|\.\.\. |[-*] )')
_TOKEN = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?|\d+|([^\w\s]|_)\1*")
_STRAIGHT = str.maketrans("\u2018\u2019\u201c\u201d", "''\"\"")  # newer reference texts have curly quotes


def load(name: str, *, seed: int = 1) -> Corpus:
    """Load a built-in corpus by name; its baselines include the unigram model's test perplexity.

    Parameters
    ----------
    name : {"python", "markov", "hmm"}
    seed : int
        Seed of the synthetic sources and their texts, at least 0; `python` does not depend on it.

    Returns
    -------
    Corpus

    Raises
    ------
    InputError
        On an unknown name, a negative seed, or a Python installation without the texts.
    """
    if name not in CORPORA:
        raise InputError(f"corpus {name!r} is not one of {', '.join(CORPORA)}")
    if seed < 0:
        raise InputError(f"seed = {seed} is less than 0")
    if name == "python":
        return load_python()
    return load_markov(seed) if name == "markov" else load_hmm(seed)


def load_python(library: Path | None = None) -> Corpus:
    """The corpus `python`, named after the version, from the library's sources (default: the running Python's)."""
    library = Path(sysconfig.get_path("stdlib")) if library is None else library
    parts = split_parts(chain(reference_documents(), library_documents(library)))
    texts = {part: [*_stream(paragraphs)] for part, paragraphs in parts.items()}
    vocabulary = Vocabulary.from_counts(Counter(texts["train"]), min_count=MIN_COUNT)
    train, valid, test = (vocabulary.encode(texts[part]) for part in ("train", "valid", "test"))
    return Corpus(
        name=f"python-{platform.python_version()}",
        vocabulary=vocabulary,
        train=train,
        valid=valid,
        test=test,
        baselines={"unigram": unigram_perplexity(vocabulary, test)},
    )


def reference_documents() -> Iterator[str]:
    """The sections of the reference texts, in order of their topics' names."""
    try:
        from pydoc_data.topics import topics
    except ImportError:
        raise InputError(
            f"corpus python: this Python was stripped of the module pydoc_data.topics; {ELSEWHERE}"
        ) from None
    for topic in sorted(topics):
        yield from _HEADING.split(topics[topic])


def library_documents(library: Path) -> Iterator[str]:
    """The docstrings in the .py files under a folder, in the order of their paths; tests are skipped."""
    modules = 0
    for path in _sources(library):
        docstrings = [*filter(None, _docstrings(tree))] if (tree := _parse(path)) else []
        modules += bool(docstrings)
        yield from docstrings
    if modules < MIN_MODULES:
        raise InputError(
            f"corpus python: {library} has only {modules} .py files with docstrings;"
            f" this Python was stripped of its sources; {ELSEWHERE}"
        )


def split_parts(documents: Iterable[str]) -> dict[str, list[Paragraph]]:
    """The paragraphs of the parts train, valid and test.  A paragraph that occurred before in any part is dropped."""
    parts: dict[str, list[Paragraph]] = {"train": [], "valid": [], "test": []}
    seen = set()
    for document in documents:
        part = parts[_part(document)]
        for text in _BLANK.split(document):
            paragraph = tokenise(text)
            key = tuple(chain.from_iterable(paragraph))
            if key and key not in seen:
                seen.add(key)
                part.append(paragraph)
    return parts


def tokenise(text: str) -> Paragraph:
    """The sentences of a paragraph as lists of tokens, none of them empty."""
    sentences = (_tokens(sentence) for sentence in _SENTENCE.split(text.translate(_STRAIGHT)))
    return [sentence for sentence in sentences if sentence]


def _tokens(sentence: str) -> Sentence:
    found = (match.group() for match in _TOKEN.finditer(sentence))
    # not printable: NUL and other control characters, lone surrogates, which a text file could not contain
    return ["N" if token[0].isdigit() else token for token in found if token.isprintable()]


def _part(document: str) -> str:
    # By hash, not every 20th, so that a docstring stays in its part when another Python version adds one before it.
    digest = hashlib.sha256(" ".join(document.split()).encode(errors="replace")).digest()
    return {0: "valid", 1: "test"}.get(int.from_bytes(digest[:8], "big") % 20, "train")


def _stream(paragraphs: list[Paragraph]) -> Iterator[str]:
    for sentence in chain.from_iterable(paragraphs):
        yield from sentence
        yield EOS


def _sources(folder: Path) -> Iterator[Path]:
    if not folder.is_dir():
        return
    for path in sorted(folder.iterdir(), key=lambda path: path.name):
        if path.suffix == ".py":
            yield path
        elif path.name.isidentifier() and path.name not in SKIPPED_FOLDERS and path.is_dir():
            yield from _sources(path)


def _parse(path: Path) -> ast.Module | None:
    """The module's tree; None if it cannot be read or is not Python (some templates in the library are not)."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about old spellings in other people's code
            return ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return None


def _docstrings(node: ast.AST) -> Iterator[str]:
    if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
        yield ast.get_docstring(node) or ""
    for block in ("body", "handlers", "orelse", "finalbody"):
        for child in getattr(node, block, ()):
            yield from _docstrings(child)
