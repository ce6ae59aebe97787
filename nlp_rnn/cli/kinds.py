"""Which task files are for, by their names and by what stands at their beginning; nothing is read whole."""

from __future__ import annotations

import itertools
import re
import shlex
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
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
_DATE = re.compile(r"\d{4}-\d{1,2}-\d{1,2}|\d{1,2}[./]\d{1,2}[./]\d{2,4}")
_NUMBER = re.compile(r"[-+]?[\d.,]*\d(?:[eE][-+]?\d+)?")
_LOGS = (".log", "syslog", "messages")
_OF_TASKS = {  # settings that one task alone has
    "sentiment": ("text", "label"),
    "translation": ("source", "target"),
    "ner": ("tokens",),
    "anomaly": ("events",),
    "speech": ("audio",),
    "forecasting": ("time", "future"),
}
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


def kind_of_files(files: Sequence[str], settings: Iterable[str] = ()) -> Kind:
    """The task that files are for.

    Args:
        files: one, or two of lines that translate each other.
        settings: that were given, such as "--data.text": some belong to one task alone.

    Raises:
        InputError: a file is not there, or nothing tells.
    """
    from nlp_rnn.data.readers import LOGS, suffix_format

    for one in map(Path, files):
        if not one.exists():
            raise InputError(f"{one} does not exist, and is no task.")
        if not (one.is_file() or one.is_dir()):
            raise InputError(f"{one} can be read once only: say which task it is for, nlp-rnn data TASK --data {one}.")
    for task, own in _OF_TASKS.items():
        if {f"--data.{name}" for name in own} <= set(settings):
            return Kind(task, f"--data.{own[0]}")
    path = Path(files[0])
    if path.is_dir() or path.name.lower().endswith(_ARCHIVES):
        return _of_many(path)
    kind = suffix_format(path)
    if path.name.removesuffix(".gz").endswith(_LOGS):
        is_told = kind or path.name.lower().endswith(LOGS)
        return Kind("anomaly", "a log", () if is_told else ("--data.format", "txt"))
    if len(files) == 2 and kind in (None, "txt"):
        return Kind("translation", "two files of lines")
    if kind == "conll":
        return Kind("ner", "a CoNLL file")
    if kind in (None, "txt"):
        return _of_lines(path, kind)
    first = _first_row(path, kind)
    names = [name for name in first if isinstance(name, str)]
    told = next(filter(None, (rule(names) for rule in _RULES)), None) or _by_values(first)
    if told is None:
        raise _untold(path, f"its columns ({', '.join(names)}) do not tell")
    task, options = told
    return Kind(task, f"the columns {', '.join(filter(None, names))}", options)


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


def _one(task: str, setting: str, known: Sequence[str]) -> Callable[..., _Told]:
    """A rule: a column is there, by the first of its names or by another."""

    def rule(names: Sequence[str]) -> _Told:
        name = _there(names, known)
        return (task, () if name == known[0] else (f"--data.{setting}", name)) if name else None

    return rule


def _translations(names: Sequence[str]) -> _Told:
    if "translation" in names:
        return "translation", ()
    if len(names) == 2 and all(map(_LANGUAGE.fullmatch, names)):
        return "translation", ("--data.source", names[0], "--data.target", names[1])
    return None


def _events(names: Sequence[str]) -> _Told:
    events, session = _there(names, ("events", "event", "line", "message")), _there(names, ("session",))
    if not events or not (session or events == "events"):
        return None
    return "anomaly", () if events == "events" else ("--data.events", events, "--data.session", session)


def _by_values(first: Mapping[str, object]) -> _Told:
    """Times and numbers are a series, whatever their columns are called."""
    times = [name for name, value in first.items() if isinstance(value, str) and _DATE.match(value.strip())]
    numbers = [name for name, value in first.items() if name not in times and _NUMBER.fullmatch(str(value).strip())]
    return ("forecasting", ("--data.time", times[0])) if times and numbers else None


def _any(task: str, *groups: Sequence[str]) -> Callable[[Sequence[str]], _Told]:
    """A rule: of each group a column is there, which the task finds by itself."""
    return lambda names: (task, ()) if all(_there(names, known) for known in groups) else None


_RULES: tuple[Callable[[Sequence[str]], _Told], ...] = (  # the first that tells decides
    _both("ner", ("tokens", _TOKENS), ("tags", _TAGS)),
    _any("ner", ("entities", "spans", "annotations")),
    _both("translation", ("source", ("source",)), ("target", ("target",))),
    _translations,
    _any("speech", _SOUNDS, _TRANSCRIPTS),
    _events,
    _both("sentiment", ("text", _TEXTS), ("label", _CLASSES)),
    _one("language-modeling", "text", _TEXTS),
    _any("anomaly-values", _TIMES, _ODD),
    _any("forecasting", _TIMES),
    _any("forecasting", ("start",), ("target",)),
)


def _first_row(path: Path, kind: str) -> Mapping[str, object]:
    if kind == "parquet":
        from pyarrow.parquet import ParquetFile

        file = ParquetFile(path)
        some = next(file.iter_batches(1), None)
        return some.to_pylist()[0] if some is not None and len(some) else dict.fromkeys(file.schema_arrow.names)
    from nlp_rnn.data.readers import rows_of

    names = next(rows_of(str(path), kind, str(path), ()), None)
    if names is None:
        raise InputError(f"{path} has no rows.")
    first = next(rows_of(str(path), kind, str(path), list(names.values)), names)
    return first.values


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
    if not some:
        raise InputError(f"{path} is empty.")
    if any(one.suffix.lower() in SUFFIXES for one in some):
        return Kind("speech", "recordings")
    train = next((one for one in some if one.name.split(".")[0] == "train" and len(one.parts) == 1), None)
    if train is not None and path.is_dir():
        return kind_of_files([str(path / train)])
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
        f"{path}: {why} which task it is for; say it: nlp-rnn data TASK --data {shlex.quote(str(path))}. Tasks: "
        f"{', '.join(task_names())}."
    )
