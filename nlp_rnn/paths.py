"""Where files are kept that belong to the machine rather than to a run, and how files are replaced."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def cache_folder() -> Path:
    """Where what was compiled for this machine is kept: `NLP_RNN_CACHE`, or `~/.cache/nlp-rnn`."""
    return Path(os.environ.get("NLP_RNN_CACHE") or Path.home() / ".cache" / "nlp-rnn")


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
    temporary = target.with_name(f".{target.name[:200]}.{os.getpid()}.tmp{target.suffix}")
    try:
        yield temporary
        if target.exists():
            temporary.chmod(target.stat().st_mode)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
