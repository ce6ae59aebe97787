"""Which task files are for, by their names and by what stands at their beginning; nothing is read whole."""

from __future__ import annotations

import itertools
import re
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nlp_rnn.errors import InputError

_TEXTS = ("text", "sentence", "review", "content", "tweet", "comment", "utterance", "document")
_CLASSES = ("label", "sentiment", "class", "category", "rating", "stars", "polarity")
_TOKENS, _TAGS = ("tokens", "words"), ("tags", "ner_tags", "labels")
_TIMES = ("ds", "date", "time", "timestamp", "datetime")
_ODD = ("label", "anomaly", "is_anomaly", "is_outlier", "outlier")
_TRANSCRIPTS = ("text", "sentence", "transcription", "transcript")
_SOUNDS = ("audio", "wav", "path", "file_name", "filename", "audio_filepath", "wav_filename")
_ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz")
_TAG = re.compile(r"O|[BIESLU]-\S+")
_LANGUAGE = re.compile("[a-z]{2,3}")
_LOOKED_AT = 200


@dataclass(frozen=True)
class Kind:
    """The task that files are for.

    Args:
        task: its name.
        by: what told.
        options: settings with which they are read, such as "--data.text".
    """

    task: str
    by: str
    options: tuple[str, ...] = ()


def kind_of_files(files: Sequence[str]) -> Kind:
    """The task that files are for.

    Args:
        files: one, or two of lines that translate each other.

    Raises:
        InputError: a file is not there, or nothing tells.
    """
    from nlp_rnn.data.readers import suffix_format

    path = Path(files[0])
    for one in map(Path, files):
        if not one.exists():
            raise InputError(f"{one} does not exist, and is no task.")
    if path.is_dir() or path.name.lower().endswith(_ARCHIVES):
        return _of_many(path)
    kind = suffix_format(path)
    if len(files) == 2 and kind in (None, "txt"):
        return Kind("translation", "two files of lines")
    if kind == "conll":
        return Kind("ner", "a CoNLL file")
    if kind in (None, "txt"):
        return _of_lines(path, kind)
    names = _columns(path, kind)
    told = next(filter(None, (rule(names) for rule in _RULES)), None)
    if told is None:
        raise _untold(path, f"its columns ({', '.join(names)}) do not tell")
    task, options = told
    return Kind(task, f"the columns {', '.join(names)}", options)


_Told = tuple[str, tuple[str, ...]] | None


def _there(names: Sequence[str], known: Sequence[str]) -> str:
    """The first of known columns that is there, as it is written; "" if none is."""
    by_small = {name.casefold(): name for name in reversed(names)}
    return next((by_small[name] for name in known if name in by_small), "")


def _both(task: str, first: tuple[str, Sequence[str]], second: tuple[str, Sequence[str]]) -> Callable[..., _Told]:
    """A rule: the columns that two settings name are there, by the first of their names or by another."""

    def rule(names: Sequence[str]) -> _Told:
        found = [(setting, known[0], _there(names, known)) for setting, known in (first, second)]
        if not all(name for _, _, name in found):
            return None
        return task, tuple(part for s, usual, name in found if name != usual for part in (f"--data.{s}", name))

    return rule


def _translations(names: Sequence[str]) -> _Told:
    if len(names) == 2 and all(map(_LANGUAGE.fullmatch, names)):
        return "translation", ("--data.source", names[0], "--data.target", names[1])
    return None


def _any(task: str, *groups: Sequence[str]) -> Callable[[Sequence[str]], _Told]:
    """A rule: of each group a column is there, which the task finds by itself."""
    return lambda names: (task, ()) if all(_there(names, known) for known in groups) else None


_RULES: tuple[Callable[[Sequence[str]], _Told], ...] = (  # the first that tells decides
    _both("ner", ("tokens", _TOKENS), ("tags", _TAGS)),
    _any("ner", ("entities", "spans", "annotations")),
    _both("translation", ("source", ("source",)), ("target", ("target",))),
    _translations,
    _any("speech", _SOUNDS, _TRANSCRIPTS),
    _any("anomaly", ("events", "session")),
    _both("sentiment", ("text", _TEXTS), ("label", _CLASSES)),
    _any("anomaly-values", _TIMES, _ODD),
    _any("forecasting", _TIMES),
    _both("language-modeling", ("text", _TEXTS), ("text", _TEXTS)),
)


def _columns(path: Path, kind: str) -> list[str]:
    if kind == "parquet":
        from pyarrow.parquet import read_schema

        return list(read_schema(path).names)
    from nlp_rnn.data.readers import rows_of

    first = next(rows_of(str(path), kind, str(path), ()), None)
    if first is None:
        raise InputError(f"{path} has no rows.")
    return [name for name in first.values if isinstance(name, str)]


def _of_lines(path: Path, kind: str | None) -> Kind:
    from nlp_rnn.data.lines import lines_of

    lines = [line.strip() for line in itertools.islice(lines_of(str(path), str(path)), _LOOKED_AT)]
    lines = [line for line in lines if line]
    tagged = sum(len(parts := line.split()) > 1 and bool(_TAG.fullmatch(parts[-1])) for line in lines)
    if lines and tagged > 0.9 * len(lines):
        return Kind("ner", "a tag at the end of each line", ("--data.format", "conll"))
    options = () if kind else ("--data.format", "txt")
    if lines and lines[0].startswith("__label__"):
        return Kind("sentiment", "labels as fastText has them", options)
    return Kind("language-modeling", "running text", options)


def _of_many(path: Path) -> Kind:
    """By the names of what is in a folder or an archive."""
    from nlp_rnn.audio.sounds import SUFFIXES

    some = [Path(name) for name in itertools.islice(_names_in(path), 10 * _LOOKED_AT)]
    if path.is_dir() and len(some) == 1 and some[0].name.lower().endswith(_ARCHIVES):
        return _of_many(path / some[0])
    if any(one.suffix.lower() in SUFFIXES for one in some):
        return Kind("speech", "recordings")
    if len({one.parent.name for one in some if one.suffix == ".txt"}) > 1:
        return Kind("sentiment", "texts in folders")
    if any(one.name in ("windows.json", "combined_windows.json") for one in some):
        return Kind("anomaly-values", "signals with windows.json")
    raise _untold(path, "what is in it does not tell")


def _names_in(path: Path) -> Iterable[str]:
    if path.is_dir():
        return (str(one.relative_to(path)) for one in path.rglob("*") if one.is_file())
    try:
        if path.suffix == ".zip":
            return zipfile.ZipFile(path).namelist()
        return (member.name for member in tarfile.open(path))
    except (tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
        raise InputError(f"{path} cannot be read as an archive: {error}.") from error


def _untold(path: Path, why: str) -> InputError:
    from nlp_rnn.registry import task_names

    return InputError(
        f"{path}: {why} which task it is for; say it, such as nlp-rnn data sentiment --data {path}. Tasks: "
        f"{', '.join(task_names())}."
    )
