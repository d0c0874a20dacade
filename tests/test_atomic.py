"""Whole or not at all.  Oracles: what was there before, and what is in the folder after a failure."""

import errno
import os
import re
from pathlib import Path

import pytest

from nplm import atomic, optional
from nplm.errors import InputError


def failing_blocks():
    """A first block, then no more room."""
    yield b"half"
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_file_is_replaced(tmp_path):
    """Oracle: the bytes given, the user's umask, and nothing else in the folder."""
    path = tmp_path / "a"
    before = os.umask(0o027)
    try:
        atomic.write(path, [b"one ", memoryview(b"two")])
        assert path.read_bytes() == b"one two"
        atomic.write(str(path), iter([b"three"]))
    finally:
        os.umask(before)
    assert path.read_bytes() == b"three"
    assert path.stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_that_fails_changes_nothing(tmp_path):
    """Oracle: the old bytes, and one line that names file and reason; an error of the caller's comes through."""
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with pytest.raises(InputError, match=r"No space left on device\); what was there before is untouched") as caught:
        atomic.write(path, failing_blocks())
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(KeyError), atomic.atomic(path) as file:
        file.write(b"half")
        raise KeyError
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_places_that_are_no_files(tmp_path):
    """Oracle: the message; a folder, a device, a folder that is not there.  None of them is replaced."""
    cases = {tmp_path: "Is a directory", tmp_path / "gone" / "a": "No such file"}
    if Path(os.devnull).is_char_device():
        cases[Path(os.devnull)] = "Not a regular file"
    for path, reason in cases.items():
        with pytest.raises(InputError, match=reason):
            atomic.write(path, [b""])
    assert os.name == "nt" or Path(os.devnull).is_char_device()


def test_a_folder_appears_when_it_is_whole(tmp_path):
    """Oracle: the folder's content; while it is filled there is nothing of its name."""
    path = tmp_path / "new" / "folder"
    with atomic.atomic_folder(path) as folder:
        (folder / "a").write_text("a")
        assert not path.exists()
    assert [(part.name, part.read_text()) for part in path.iterdir()] == [("a", "a")]
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_that_fails_leaves_nothing(tmp_path):
    """Oracle: an empty parent, after the caller's error and after the system's; one line names the folder."""
    with pytest.raises(KeyError), atomic.atomic_folder(tmp_path / "folder"):
        raise KeyError
    with (
        pytest.raises(InputError, match=r"folder: not written \(No space left"),
        atomic.atomic_folder(tmp_path / "folder") as folder,
    ):
        (folder / "a").write_bytes(b"".join(failing_blocks()))
    with (
        pytest.raises(InputError, match=rf"^{re.escape(str(tmp_path / 'folder' / 'a'))}: not written"),
        atomic.atomic_folder(tmp_path / "folder") as folder,
    ):
        atomic.write(folder / "a", failing_blocks())
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_never_replaced(tmp_path):
    """Oracle: the file in it, and the message."""
    (tmp_path / "a").write_text("mine")
    with pytest.raises(InputError, match="already exists"), atomic.atomic_folder(tmp_path):
        pytest.fail("the block must not run")
    assert (tmp_path / "a").read_text() == "mine"


def test_a_package_that_is_missing():
    """Oracle: the import system; and the command that installs it, in one line."""
    assert optional.load("os.path", "any", "a test") is os.path
    with pytest.raises(InputError, match=r"^a test needs the package nowhere_to_be.*nplm-nce\[any\]'$"):
        optional.load("nowhere_to_be.found", "any", "a test")
