"""Where files are kept that belong to the machine rather than to a run, and how files are replaced."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from nlp_rnn.errors import InputError

_DAY = 24 * 60 * 60


def cache_folder() -> Path:
    """Where what was compiled for this machine is kept: `NLP_RNN_CACHE`, or `~/.cache/nlp-rnn`.

    A folder that others may write to is not used, since code is loaded from it; nor one that cannot be written. A
    private temporary folder serves instead, which is said once.
    """
    given, home = os.environ.get("NLP_RNN_CACHE", ""), _home()
    return _usable(Path(given) if given else home / ".cache" / "nlp-rnn" if home else None)


def use_writable_home() -> None:
    """Lets libraries that keep files at home keep them in a private temporary folder where there is no home."""
    home, is_told = _home(), not {"HF_HOME", "XDG_CACHE_HOME"}.isdisjoint(os.environ)
    if not is_told and not (home and _can_be_made(home / ".cache")):
        os.environ["HF_HOME"] = str(_private() / "huggingface")
        os.environ.setdefault("MPLCONFIGDIR", str(_private() / "matplotlib"))


def is_private(path: Path) -> bool:
    """Whether nobody but this user, or root, can write to a file or folder, or replace it."""
    try:
        status, folder = path.lstat(), path.parent.stat()
    except OSError:
        return False
    is_own = status.st_uid == os.getuid() and not stat.S_ISLNK(status.st_mode)
    keeps = bool(folder.st_mode & stat.S_ISVTX) or not _others_write(folder)
    return is_own and not _others_write(status) and folder.st_uid in (0, os.getuid()) and keeps


def _others_write(status: os.stat_result) -> bool:
    """Whether others may write; the group of a user alone, which has the user's number, is no other."""
    is_own_group = status.st_gid == os.getgid() == os.getuid()
    return bool(status.st_mode & (0o002 if is_own_group else 0o022))


def _home() -> Path | None:
    try:
        return Path.home()
    except RuntimeError:  # neither HOME nor an entry of this user
        return None


@cache
def _usable(folder: Path | None) -> Path:
    reason = "there is no home folder"
    if folder is not None:
        with contextlib.suppress(OSError):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if is_private(folder) and os.access(folder, os.W_OK):
                return folder
        can_write = folder.is_dir() and os.access(folder, os.W_OK)
        reason = f"others may write to {folder}" if can_write else f"{folder} cannot be written"
    kept = _private()
    print(f"What is compiled is kept in {kept}: {reason}.", file=sys.stderr, flush=True)
    return kept


@cache
def _private() -> Path:
    """A temporary folder of this user alone, the same for each process; one for this process where that is taken."""
    folder = Path(tempfile.gettempdir()) / f"nlp-rnn-{os.getuid()}"
    with contextlib.suppress(OSError):
        folder.mkdir(mode=0o700, exist_ok=True)
    return folder if is_private(folder) else Path(tempfile.mkdtemp(prefix="nlp-rnn-"))


def _can_be_made(folder: Path) -> bool:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder.is_dir() and os.access(folder, os.W_OK)


def check_place(path: str | Path, option: str) -> None:
    """A file must be possible in a place, before any work is done for it.

    Args:
        path: the file.
        option: which option names it, for messages.

    Raises:
        InputError: it is not.
    """
    target = Path(path)
    try:
        is_there, folder = target.exists(), target.parent
        if str(path).endswith("/") or target.is_dir():
            raise InputError(f"{option} {path} is a folder; give the name of a file.")
        if not folder.is_dir():
            raise InputError(f"{option} {path}: there is no folder {folder}; make it, or choose another.")
        if not os.access(target if is_there and not target.is_file() else folder, os.W_OK):
            raise InputError(f"{option} {path} cannot be written; choose another place.")
        target.lstat()
    except FileNotFoundError:
        pass
    except OSError as error:  # such as a name that is too long
        raise InputError(f"{option} {str(path)[:80]}…: {error.strerror}; choose another name.") from None


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A path beside `path` to write a file to, which takes that place once it is whole; what was there before stays
    until then, and stays for good where writing fails. A device, such as /dev/stdout, or a pipe is written itself.

    Example:

        with replacing("out.csv") as path:
            path.write_text(…)
    """
    target = Path(path)
    target = target.resolve() if target.is_symlink() else target
    if target.exists() and not target.is_file():
        yield target
        return
    for left in target.parent.glob(f".nlp-rnn-*.tmp{target.suffix}"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > _DAY:  # of a process that was killed, on whichever machine
                left.unlink()
    temporary = target.with_name(f".nlp-rnn-{secrets.token_hex(8)}.tmp{target.suffix}")
    try:
        yield temporary
        if target.exists():
            temporary.chmod(target.stat().st_mode)
        temporary.replace(target)
    except OSError as error:
        if error.filename and Path(error.filename) == temporary:  # such as of a file system that takes none
            raise InputError(f"{path} cannot be written: {error.strerror}.") from None
        raise
    finally:
        temporary.unlink(missing_ok=True)


def replace_files(source: Path, target: Path) -> None:
    """Gives a folder the files of another and no others. Each is exchanged at once, and those alone whose content
    differs."""
    files = {path.relative_to(source): path for path in source.rglob("*") if path.is_file()}
    for name, path in sorted(files.items()):
        place = target / name
        if place.is_file() and place.read_bytes() == path.read_bytes():
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        path.replace(place)
    for place in [place for place in target.rglob("*") if place.is_file()]:
        if place.relative_to(target) not in files:
            place.unlink()
