"""Folders, archives and tables of sound → recordings with what is said in them.

A folder may hold tables (Common Voice, or `metadata.csv` as `datasets` has it), `*.trans.txt` (LibriSpeech), a text
beside each recording, or names that say it.
"""

from __future__ import annotations

import hashlib
import re
import tarfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlp_rnn.audio.sounds import SUFFIXES, Sound, sound_of
from nlp_rnn.data.frames import frame_of_file
from nlp_rnn.data.memory import shown_name
from nlp_rnn.data.readers import Form, suffix_format
from nlp_rnn.data.records import LINE, Record
from nlp_rnn.data.sources import SPLITS, hub_rows
from nlp_rnn.errors import InputError
from nlp_rnn.paths import cache_folder

if TYPE_CHECKING:
    import pandas as pd

ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip")
_TABLES = ("csv", "tsv", "jsonl", "parquet")
NAMES = {
    "audio": ("audio", "path", "file_name", "filename", "file", "wav", "wav_filename", "audio_filepath"),
    "text": ("text", "sentence", "transcription", "transcript", "normalized_text", "label"),
    "speaker": ("speaker", "speaker_id", "client_id"),
}
_NO_TEXTS = (
    "put a table beside them with the columns audio and text, a .txt file beside each recording, or say how names are "
    "made, such as --data.pattern {text}_{speaker}_{take}"
)


@dataclass(frozen=True)
class Naming:
    """How recordings and what is said in them are found.

    Args:
        columns: "audio", "text", "speaker" → column of a table; by default those of `NAMES`.
        pattern: how names of files are made, such as "{text}_{speaker}_{take}"; empty where they say nothing.
        form: how tables are written.
        need_texts: whether a recording without a text is of use.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    pattern: str = ""
    form: Form = field(default_factory=Form)
    need_texts: bool = True

    def __post_init__(self) -> None:
        names = re.findall(r"\{(.*?)\}", self.pattern)
        if self.pattern and (
            "text" not in names or len({*names}) < len(names) or not all(map(str.isidentifier, names))
        ):
            raise InputError(
                f'data.pattern is "{self.pattern}"; it must have {{text}}, and other names as you like, each once, '
                f"such as {{text}}_{{speaker}}_{{take}}."
            )

    def fields_of(self, stem: str) -> dict[str, str] | None:
        """What a name says, by the names of the pattern.

        >>> Naming(pattern="{text}_{speaker}_{take}").fields_of("7_jackson_32")
        {'text': '7', 'speaker': 'jackson', 'take': '32'}
        """
        parts = re.split(r"\{(\w+)\}", self.pattern)
        expression = "".join(rf"(?P<{part}>.+?)" if i % 2 else re.escape(part) for i, part in enumerate(parts))
        found = re.fullmatch(expression, stem)
        return found.groupdict() if found else None


def read_recordings(sources: Iterable[str], split: str, naming: Naming) -> tuple[list[Record], str] | None:
    """One split of sources, one after the other.

    Args:
        sources: folders, archives, tables, recordings, or names of data sets on the hub.
        split: "train", "validation" or "test"; what says nothing of splits is "train".
        naming: how recordings and texts are found.

    Returns:
        Records with "audio", a `Sound`, "text", "speaker", "line", and what names or tables say beside; and what the
        sources are called in messages. None where none has the split.

    Raises:
        InputError: a source cannot be read.
    """
    found: list[Record] | None = None
    sources = list(sources)
    for source in sources:
        rows = _of_source(source, split, naming)
        if rows is not None:
            found = [*(found or []), *rows]
    return None if found is None else (found, " and ".join(sources))


def _of_source(source: str, split: str, naming: Naming) -> list[Record] | None:
    path = Path(source)
    if path.is_dir():
        return _of_folder(path, split, naming)
    if path.exists() or source == "-":
        if split != "train":
            return _of_folder(_unpacked(path), split, naming) if is_archive(path) else None
        if is_archive(path):
            return _of_folder(_unpacked(path), split, naming)
        if path.suffix.lower() in SUFFIXES:
            return list(_of_names([path], naming, source))
        frame = frame_of_file(path, naming.form, _texts(naming))
        return list(_of_table(frame, path.parent, naming, shown_name(source)))
    rows = hub_rows(source).get(split)
    return None if rows is None else list(_of_hub(rows(), naming, source))


def is_archive(path: Path) -> bool:
    """Whether a file holds others."""
    return path.name.lower().endswith(ARCHIVES)


def _of_folder(folder: Path, split: str, naming: Naming) -> list[Record] | None:
    tables = _tables_by_split(folder)
    if tables:
        if split not in tables:
            return None
        path = tables[split]
        frame = frame_of_file(path, naming.form, _texts(naming))
        return list(_of_table(frame, folder, naming, str(path)))
    parts = _folders_by_split(folder)
    if not parts:
        return list(_of_files(folder, naming)) if split == "train" else None
    return [row for part in parts[split] for row in _of_files(part, naming)] if split in parts else None


def _tables_by_split(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.is_file() and suffix_format(path) in _TABLES and (split := _split_in(path.name.split(".")[0])):
            found.setdefault(split, path)
    return found


def _folders_by_split(folder: Path) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        if path.is_dir() and (split := _split_in(path.name)):
            found.setdefault(split, []).append(path)
    return found if "train" in found else {}


def _split_in(name: str) -> str | None:
    """The split that a name says: "train-clean-100" is of "train"."""
    for split, names in SPLITS.items():
        if any(re.fullmatch(rf"(.*[-_])?{one}([-_].*)?", name.lower()) for one in names):
            return split
    return None


def _of_files(folder: Path, naming: Naming) -> Iterator[Record]:
    """The recordings of a folder, by the first of what says something of them."""
    for name in ("metadata.csv", "metadata.jsonl", "metadata.parquet"):
        if (table := folder / name).is_file():
            yield from _of_table(frame_of_file(table, Form(), _texts(naming)), folder, naming, str(table))
            return
    texts = sorted(folder.rglob("*.trans.txt"))
    if texts:
        for place in texts:
            yield from _of_librispeech(place)
        return
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        archives = sorted(path for path in folder.iterdir() if path.is_file() and is_archive(path))
        if not archives:
            raise InputError(f"{folder} holds no recordings: {', '.join(SUFFIXES[:4])} files, or archives of them.")
        for archive in archives:
            yield from _of_files(_unpacked(archive), naming)
        return
    yield from _of_names(paths, naming, str(folder))


def _of_names(paths: list[Path], naming: Naming, shown: str) -> Iterator[Record]:
    """Recordings whose names, or texts beside them, say what is said."""
    without = []
    for number, path in enumerate(paths, 1):
        about: dict[str, Any] = {"audio": Sound(str(path), path), "text": None, "speaker": "", "line": number}
        beside = next((p for s in (".txt", ".lab") if (p := path.with_suffix(s)).is_file()), None)
        said = naming.fields_of(path.stem) if naming.pattern else None
        if said:
            about |= said
        elif beside is not None:
            about["text"] = beside.read_text(encoding="utf-8-sig", errors="replace").strip()
        if about["text"] is None:
            without.append(path)
        yield about
    if naming.need_texts and len(without) == len(paths):
        reason = f"no name is as data.pattern says, {naming.pattern}: " if naming.pattern else ""
        raise InputError(f"{shown}: nothing says what is said in {without[0].name}; {reason}{_NO_TEXTS}.")


def _of_librispeech(place: Path) -> Iterator[Record]:
    """`ID TEXT` in each line; the speaker is the first number of the id."""
    for number, line in enumerate(place.read_text(encoding="utf-8").splitlines(), 1):
        name, _, text = line.partition(" ")
        path = next((p for s in SUFFIXES if (p := place.parent / f"{name}{s}").is_file()), None)
        if path is None:
            raise InputError(f"{place}, line {number}: there is no recording {name} beside it.")
        yield {"audio": Sound(str(path), path), "text": text, "speaker": name.split("-")[0], "line": number}


def _texts(naming: Naming) -> set[str]:
    return {*naming.columns.values(), *(name for names in NAMES.values() for name in names)} - {""}


def _of_table(frame: pd.DataFrame, folder: Path, naming: Naming, shown: str) -> Iterator[Record]:
    parts = {"array", "sampling_rate"} & {*frame.columns}
    if len(parts) == 1 and "audio" not in frame.columns:
        raise InputError(f'{shown} has recordings with {parts.pop()} alone: give both "array" and "sampling_rate".')
    if len(parts) == 2 and not naming.columns.get("audio"):  # rows are sounds
        frame = frame.assign(audio=frame[["array", "sampling_rate"]].to_dict("records"))
        frame = frame.drop(columns=["array", "sampling_rate"])
    columns = {kind: column_of(frame.columns, kind, naming, shown) for kind in NAMES}
    for row in frame.to_dict("records"):
        about = {name: value for name, value in row.items() if name not in (LINE, *columns.values()) and value == value}
        line, where = row[LINE], f"{shown}, line {row[LINE]}"
        value = row[columns["audio"]]
        if value is None or value != value or value == "":
            raise InputError(f'{where}: "{columns["audio"]}" is empty: name a recording, or leave the row out.')
        sound = _beside(value, folder, where) if isinstance(value, str) else sound_of(value, where)
        text, speaker = (_text(row.get(columns[kind])) if columns[kind] else None for kind in ("text", "speaker"))
        yield {**about, "audio": sound, "text": text, "speaker": speaker or "", "line": line}


def _beside(value: str, folder: Path, where: str) -> Sound:
    """A recording by a name in a table: beside the table, or in its folder of clips."""
    if value.lstrip()[:1] in ("{", "["):
        return sound_of(value, where)
    for place in (folder / value, folder / "clips" / value, Path(value)):
        if place.is_file():
            return Sound(str(place), place, where=where)
    raise InputError(f"{where}: there is no recording {value} in {folder}, from where names in a table are read.")


def _of_hub(rows: Any, naming: Naming, shown: str) -> Iterator[Record]:
    import datasets

    for name, kind in rows.features.items():
        if isinstance(kind, datasets.Audio):
            rows = rows.cast_column(name, datasets.Audio(decode=False))
    columns = {kind: column_of(rows.column_names, kind, naming, shown) for kind in NAMES}
    for number, row in enumerate(rows, 1):
        text, speaker = (_text(row.get(columns[kind])) if columns[kind] else None for kind in ("text", "speaker"))
        sound = sound_of(row[columns["audio"]], f"{shown}, row {number}")
        yield {"audio": sound, "text": text, "speaker": speaker or "", "line": number}


def column_of(there: Iterable[str], kind: str, naming: Naming, shown: str) -> str:
    """The column that a table has for something; empty where it has none, and needs none.

    Raises:
        InputError: it lacks one that it needs, or that was named.
    """
    names = [name for name in there if name != LINE]
    asked, lower = naming.columns.get(kind, ""), {name.lower(): name for name in reversed(names)}
    found = asked if asked in names else "" if asked else next((lower[n] for n in NAMES[kind] if n in lower), "")
    needed = asked or kind == "audio" or (kind == "text" and naming.need_texts)
    if needed and not found:
        what = f'column "{asked}"' if asked else f"column of the {kind}"
        raise InputError(f"{shown} has no {what}; it has: {', '.join(names)}: name yours with --data.{kind}.")
    return found


def _text(value: object) -> str | None:
    return None if value is None or value != value else str(value)


def _unpacked(archive: Path) -> Path:
    """The folder with what an archive holds, unpacked once among what is kept for this machine."""
    stat = archive.stat()
    key = hashlib.blake2b(repr((str(archive.resolve()), stat.st_size, stat.st_mtime_ns)).encode(), digest_size=8)
    folder = cache_folder() / "archives" / f"{archive.name.split('.')[0]}-{key.hexdigest()}"
    if folder.is_dir():
        return folder
    temporary = folder.with_name(f"{folder.name}.tmp")
    temporary.mkdir(parents=True, exist_ok=True)
    try:
        if archive.name.lower().endswith(".zip"):
            with zipfile.ZipFile(archive) as packed:
                packed.extractall(temporary)
        else:
            with tarfile.open(archive) as packed_tar:
                packed_tar.extractall(temporary, filter="data")
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError) as error:
        raise InputError(f"{archive} cannot be unpacked ({error}).") from None
    try:
        temporary.rename(folder)
    except OSError:  # another process was first
        if not folder.is_dir():
            raise
    return folder
