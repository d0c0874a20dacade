"""Compiled kernels on disk.  Oracles: the function as plain Python, and caches damaged or taken away on purpose."""

import logging
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import numba
import pytest

from nplm.cli import main
from nplm.kernels import _cache, _jit
from nplm.kernels._cache import SUFFIX, KernelCache, own_folder

ROOT = Path(__file__).parent.parent
jit = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="nothing is compiled without the JIT")
posix = pytest.mark.skipif(_cache.OWNER is None, reason="files have no owners here")


@pytest.fixture(autouse=True)
def warned(caplog):
    """The lines said in a test; each is said once a process, so what was said before is forgotten."""
    _cache.warn.cache_clear()
    caplog.set_level(logging.WARNING, "nplm")
    return lambda: [record.getMessage() for record in caplog.records]


def twice(x):
    return 2 * x


def call(folder, trouble=""):
    """A kernel compiled or loaded, and called; how often it was loaded."""
    kernel = numba.njit(twice)
    kernel._cache = KernelCache(twice, folder, trouble)
    assert kernel(21) == 42
    return sum(kernel.stats.cache_hits.values())


def only(folder):
    (file,) = folder.glob(f"*{SUFFIX}")
    return file


@jit
def test_a_kernel_is_loaded_the_second_time(tmp_path, warned):
    """Oracle: Numba's own count of hits."""
    assert (call(tmp_path), call(tmp_path)) == (0, 1)
    assert warned() == [] and [p.suffix for p in tmp_path.iterdir()] == [SUFFIX]


DAMAGES = {
    "emptied": lambda content: b"",
    "cut": lambda content: content[: len(content) // 2],
    "a flipped bit": lambda content: content[:500] + bytes([content[500] ^ 1]) + content[501:],
    "another file's": lambda content: b"\x80\x04N." * 20,
}


@jit
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_made_again_with_one_line(damage, tmp_path, warned):
    """Issue 15, fault 1: an emptied file made every command end as interrupted, for ever."""
    call(tmp_path)
    file = only(tmp_path)
    whole = file.read_bytes()
    file.write_bytes(DAMAGES[damage](whole))
    assert (call(tmp_path), call(tmp_path)) == (0, 1)
    (line,) = warned()
    assert str(tmp_path) in line and "damaged" in line and "\n" not in line


@jit
def test_a_whole_file_of_another_key_is_not_used(tmp_path):
    """Oracle: Numba's count of hits, with a float's code under an integer's name."""
    call(tmp_path)
    integer = only(tmp_path)
    kernel = numba.njit(twice)
    kernel._cache = KernelCache(twice, tmp_path)
    kernel(0.5)
    (other,) = {*tmp_path.glob(f"*{SUFFIX}")} - {integer}
    shutil.copy(other, integer)
    assert call(tmp_path) == 0


@jit
@posix
@pytest.mark.parametrize("kind", ["link", "fifo"])
def test_what_is_not_a_plain_file_is_not_read(kind, tmp_path, warned):
    """Oracle: the count of hits; a FIFO would hang, a link lead to code of another user's."""
    call(tmp_path)
    file = only(tmp_path)
    if kind == "link":
        file.rename(tmp_path / "elsewhere")
        file.symlink_to(tmp_path / "elsewhere")
    else:
        file.unlink()
        os.mkfifo(file)
    assert call(tmp_path) == 0
    assert file.is_file() and len(warned()) == 1


@jit
def test_a_file_of_another_user_is_not_read(tmp_path, monkeypatch, warned):
    """Oracle: the count of hits, with this process's user made another."""
    call(tmp_path)
    monkeypatch.setattr(_cache, "OWNER", 12345)
    assert call(tmp_path) == 0 and len(warned()) == 1


@jit
def test_a_full_disk_is_done_without(tmp_path, monkeypatch, warned):
    """A write that fails: one line, the right answer, nothing half written."""

    def full(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_cache, "_write", full)
    assert (call(tmp_path), call(tmp_path)) == (0, 0)
    (line,) = warned()
    assert "No space left on device" in line and "NPLM_CACHE" in line


@jit
def test_a_write_that_fails_leaves_nothing(tmp_path, monkeypatch):
    """Oracle: the folder, after a rename that fails."""
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError(5, "Input/output error")))
    call(tmp_path)
    assert list(tmp_path.iterdir()) == []


@jit
def test_without_a_folder_everything_works(warned):
    """A user without a home: one line, however many kernels."""
    assert (call(None, "no home"), call(None, "no home")) == (0, 0)
    assert len(warned()) == 1


@posix
def test_the_folder_is_the_users_alone(tmp_path):
    """Oracle: its mode, its owner, its name; another's, a file or a link in its place is refused."""
    folder, trouble = own_folder(tmp_path / "a" / "b", "kernels")
    assert trouble == "" and folder.name == f"kernels-{os.geteuid()}"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    folder.chmod(0o777)
    assert own_folder(tmp_path / "a" / "b", "kernels") == (folder, "")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    folder.rename(tmp_path / "moved")
    folder.symlink_to(tmp_path / "moved")
    assert own_folder(tmp_path / "a" / "b", "kernels")[1] == "it is not a folder"
    folder.unlink()
    folder.touch()
    assert own_folder(tmp_path / "a" / "b", "kernels")[1] == "it is not a folder"
    assert own_folder(folder, "kernels")[1] == "Not a directory" or own_folder(folder, "kernels")[1] == "File exists"
    assert own_folder(None, "kernels") == (None, "the user has no home folder")


@posix
def test_the_folder_of_another_user_is_refused(tmp_path, monkeypatch):
    """Oracle: the reason given, with this process's user made another."""
    monkeypatch.setattr(_cache, "OWNER", 12345)
    assert own_folder(tmp_path, "kernels")[1] == "it belongs to another user"


@pytest.mark.parametrize("changed", ["lstm.py", "_jit.py", "tile.py"])
def test_one_changed_byte_changes_the_folder(changed, tmp_path):
    """Gap 7 of the mutants: a copied kernels folder, and a byte more in one file of it."""
    copy = shutil.copytree(ROOT / "nplm" / "kernels", tmp_path / "kernels", ignore=shutil.ignore_patterns("__*"))
    shutil.copy(ROOT / "nplm" / "kernels" / "__init__.py", copy)
    before = _jit.cache_name(copy, (1, 2))
    assert before == _jit.cache_name(ROOT / "nplm" / "kernels", (1, 2)) != _jit.cache_name(copy, (1, 3))
    with (copy / changed).open("a") as file:
        file.write("#")
    assert _jit.cache_name(copy, (1, 2)) != before


@posix
@pytest.mark.parametrize("home", [None, "relative"])
def test_no_home_is_no_traceback(home, monkeypatch):
    """Oracle: None; there is neither HOME nor an entry in the table of users."""
    import pwd

    def nobody(uid):
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    for name in ("HOME", "NPLM_CACHE", "NUMBA_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    if home is not None:
        monkeypatch.setenv("HOME", home)
    assert _jit._cache_root() is None


def test_the_end_of_a_file_is_not_ctrl_c(monkeypatch):
    """Issue 15: any EOFError was reported as "interrupted", exit code 130."""

    def ended(*args, **kwargs):
        raise EOFError("Ran out of input")

    monkeypatch.setattr("nplm.cli.info.describe", ended)
    with pytest.raises(RuntimeError, match="unexpected end of a file") as caught:
        main(["info", "model"])
    assert isinstance(caught.value.__cause__, EOFError)


@jit
@posix
@pytest.mark.slow
def test_a_command_survives_its_cache(tmp_path):
    """A real process with a cache of empty files, then with none: the same figures, and one line more on stderr."""
    model = ROOT / "tests" / "golden" / "model.safetensors"
    text = tmp_path / "text"
    text.write_text("w1 w2 w3\n")
    outs = []
    for damage in (False, True):
        env = {**os.environ, "NUMBA_CACHE_DIR": "", "NPLM_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT)}
        if damage:
            for file in (tmp_path / "cache").rglob(f"*{SUFFIX}"):
                file.write_bytes(b"")
        line = [sys.executable, "-m", "nplm", "eval", str(model), str(text)]
        outs.append(subprocess.run(line, env=env, capture_output=True, text=True, timeout=300))
    assert [got.returncode for got in outs] == [0, 0], outs
    assert outs[0].stdout == outs[1].stdout
    assert outs[1].stderr.count("damaged") == 1
