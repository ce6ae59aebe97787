"""Data in memory → files that sources may name, so that a run can be resumed and asked again wherever it is.

They are kept among the files of `datasets` (`HF_DATASETS_CACHE`), under a digest of what they hold.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from nlp_rnn.data.tables import datasets_library
from nlp_rnn.errors import InputError

_SPLITS = ("train", "validation", "test")
_FOLDER = "nlp-rnn-in-memory"


def is_table(data: object) -> bool:
    """Whether data are rows with named columns: dicts, a data set, or a frame of pandas or polars."""
    is_rows = isinstance(data, (list, tuple)) and bool(data) and all(isinstance(row, Mapping) for row in data)
    has_columns = hasattr(data, "columns") or hasattr(data, "column_names")
    return is_rows or (has_columns and _library(data) in ("datasets", "pandas", "polars", "pyarrow"))


def data_settings(data: object) -> dict[str, Any]:
    """Settings of `data`, in which sources are named, from settings that hold data, or from data to train on.

    Args:
        data: settings such as `{"train": frame, "text": "review"}`, a source, or rows in any form of `is_table`; of a
            `DatasetDict` the splits are those of its names.

    Raises:
        InputError: they are none of these.
    """
    if isinstance(data, Mapping) and not is_table(data):
        return {name: sources_of(value) if name in _SPLITS else value for name, value in data.items()}
    return {"train": sources_of(data)}


def sources_of(data: object) -> list[str]:
    """The names of sources for data of any kind; what is in memory is written to a file first.

    Raises:
        InputError: the data are of no kind that can be read.
    """
    if isinstance(data, (str, Path)):
        return [str(data)]
    if is_table(data):
        return [str(_kept(data))]
    if isinstance(data, (list, tuple)) and not data:
        raise InputError("The given data is empty.")
    if isinstance(data, (list, tuple)) and all(isinstance(source, (str, Path)) for source in data):
        return [str(source) for source in data]
    raise InputError(
        f"Data of type {type(data).__name__} cannot be read: give a file, a list of dicts, a data set of `datasets`, "
        f"or a frame of pandas or polars."
    )


def shown_name(path: str | Path) -> str:
    """What a source is called in messages."""
    return "the given data" if _FOLDER in Path(path).parts else str(path)


def _library(data: object) -> str:
    return type(data).__module__.partition(".")[0]


def _kept(data: Any) -> Path:
    """The file, or the folder of split files, that holds a table."""
    datasets = datasets_library()
    if isinstance(data, (datasets.IterableDataset, datasets.IterableDatasetDict)):
        raise InputError("An iterable data set cannot be read twice: load it without streaming.")
    if isinstance(data, datasets.DatasetDict):
        parts = {name: _parquet(part) for name, part in data.items()}
        digest = hashlib.blake2b(repr({n: p.name for n, p in parts.items()}).encode(), digest_size=8).hexdigest()
        folder = _folder() / digest
        folder.mkdir(exist_ok=True)
        for name, path in parts.items():
            if not (folder / f"{name}.parquet").exists():
                os.link(path, folder / f"{name}.parquet")
        return folder
    if isinstance(data, datasets.Dataset):
        return _parquet(data)
    if _library(data) == "pyarrow":
        return _parquet(datasets.Dataset(data))
    if _library(data) == "pandas":
        data = _with_index(data).to_dict("records")
    elif _library(data) == "polars":
        data = data.to_dicts()
    lines = (json.dumps(row, ensure_ascii=True, default=_plain) + "\n" for row in data)
    return _written(".jsonl", lambda path: _write_lines(path, lines))


def _with_index(frame: Any) -> Any:
    """A frame with its index as a column, where that holds times.

    Raises:
        InputError: two columns have one name.
    """
    if not frame.columns.is_unique or frame.columns.nlevels > 1:
        raise InputError("Columns of a frame must have one name each; rename those that occur twice, or are nested.")
    if type(frame.index).__name__ in ("DatetimeIndex", "PeriodIndex"):
        return frame.rename_axis(index=frame.index.name or "ds").reset_index()
    return frame


def _plain(value: Any) -> Any:
    """What JSON does not know: arrays and their numbers as lists and numbers, what is missing as null, else a text."""
    if hasattr(value, "tolist"):
        return value.tolist()
    return None if str(value) in ("<NA>", "NaT") else str(value)


def _parquet(data: Any) -> Path:
    return _written(".parquet", lambda path: data.to_parquet(str(path)))


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    with path.open("w", encoding="utf-8") as sink:
        sink.writelines(lines)


def _folder() -> Path:
    folder = Path(datasets_library().config.HF_DATASETS_CACHE) / _FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _written(suffix: str, write: Any) -> Path:
    """A file by the digest of its contents."""
    with tempfile.NamedTemporaryFile(dir=_folder(), suffix=suffix, delete=False) as place:
        temporary = Path(place.name)
    try:
        write(temporary)
        with temporary.open("rb") as stream:
            digest = hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=8)).hexdigest()
        return temporary.replace(temporary.with_name(digest + suffix))
    finally:
        temporary.unlink(missing_ok=True)
