"""Anything → records: hub data sets, files, folders with split files, standard input, the starter corpora.

What the readers of line formats yield is stored as Arrow by `datasets`, so that a corpus may be larger than memory;
path, size and modification time are part of the cache's key, so that an edited file is read anew.
"""

from __future__ import annotations

import itertools
import re
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

from nlp_rnn.data.fields import Fields
from nlp_rnn.data.readers import rows_of
from nlp_rnn.data.records import Record, Records
from nlp_rnn.errors import InputError, did_you_mean
from nlp_rnn.paths import use_writable_home

FORMATS = ("csv", "tsv", "jsonl", "txt", "parquet", "conll")
SPLITS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test",),
}
_SUFFIXES = {".json": "jsonl", ".ndjson": "jsonl", ".text": "txt", ".iob": "conll", ".bio": "conll"}
_HUB_SECONDS = 8


class NoLabelsError(InputError):
    """A source whose rows are all without a label."""


def read_columns(source: str, format: str, names: Iterable[str]) -> Iterator[Record]:
    """Columns of a file or of standard input, as texts, row by row.

    Raises:
        InputError: it cannot be read, or has no such column.
    """
    columns = {f"column {name}": name for name in names}
    fields = Fields(columns, kinds=dict.fromkeys(columns, "any"), option="--keep", predicts=True)
    records = read_sources([source], "test", format, fields)
    return ({name: row[key] for key, name in fields.columns.items()} for chunk in records.chunks() for row in chunk)


def read_sources(
    sources: Iterable[str], split: str, format: str, fields: Fields, starter: Path | None = None
) -> Records:
    """One split of sources, one after the other; of a source that is one file, all of it.

    Args:
        sources: files, folders, names of data sets on the hub, "starter", or "-" for standard input.
        split: "train", "validation" or "test".
        format: of files; "auto" goes by their suffix.
        fields: what is read.
        starter: the folder that "starter" stands for.

    Raises:
        InputError: a source cannot be read, or has no such split; the message says where and what to do.
    """
    sources = list(sources)
    if fields.parallel and len(sources) == 2 and not any(_is_table(source, format) for source in sources):
        return _read_parallel(sources[0], sources[1], fields)
    if fields.parallel and len(sources) == 1 < len(fields.columns) and not _is_table(sources[0], format):
        raise InputError(
            f"{sources[0]} has only one side of the pairs: give two files, the source first, or a table with two "
            f"columns."
        )
    parts = []
    for source in sources:
        places = _places(source, format, starter)
        if split in places:
            parts.append(places[split](fields))
        elif len(places) == 1:
            parts.append(next(iter(places.values()))(fields))
        else:
            raise InputError(f'{source} has no "{split}" split; it has: {", ".join(places)}.')
    if len(parts) == 1:
        return parts[0]
    dropped: dict[str, int] = {}
    for part in parts:
        for reason, count in part.dropped.items():
            dropped[reason] = dropped.get(reason, 0) + count
    return Records(_datasets().concatenate_datasets([part.rows for part in parts]), dropped)


def has_split(sources: Iterable[str], split: str, starter: Path | None = None) -> bool:
    """Whether one of the sources, such as a folder of files, offers a split by its name."""
    return any(split in _places(source, "auto", starter) for source in sources)


def _datasets() -> Any:
    """The library, imported where it is first needed (a second), its progress bars off."""
    use_writable_home()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="IProgress not found")  # of tqdm, in a notebook
        import datasets

    datasets.disable_progress_bars()
    return datasets


def _places(source: str, format: str, starter: Path | None = None) -> Record:
    """What a source offers: split → a function of `Fields` that reads it."""
    if source == "starter":
        if starter is None:
            raise InputError("This task has no starter corpus: name your data with --data.")
        return _folder_places(starter, "auto", f"{starter} is a folder without data")
    if source == "-":
        return {"train": partial(_read_stdin, format)}
    path = Path(source)
    if path.is_dir():
        return _folder_places(path, format, f"{source} is a folder without data")
    if path.exists():
        return {"train": partial(_read_file, path, format)}
    near = did_you_mean(path.name, [p.name for p in path.parent.iterdir()]) if path.parent.is_dir() else ""
    near = near if "Did you mean" in near else ""
    if _looks_like_a_file(source):
        raise InputError(f"{source} does not exist.{near}")
    try:
        return _hub_places(source)
    except InputError as error:
        raise InputError(f"{error}{near}") from None


def _folder_places(folder: Path, format: str, complaint: str) -> Record:
    places: Record = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        stem = path.name.split(".")[0].lower()
        for split, names in SPLITS.items():
            if any(re.fullmatch(rf"(.*[-_])?{name}([-_].*)?", stem) for name in names) and _format_of(path):
                places.setdefault(split, partial(_read_file, path, format))
    if not places:
        raise InputError(
            f"{complaint}: put files in it named train, validation and test, such as train.csv, "
            f"in one of the formats {', '.join(FORMATS)}."
        )
    return places


def _looks_like_a_file(source: str) -> bool:
    path = Path(source)
    return bool(_format_of(path)) or path.suffix == ".gz" or source.startswith((".", "/", "~")) or source.count("/") > 1


def _format_of(path: Path) -> str | None:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] == ".gz":
        suffixes.pop()
    if not suffixes:
        return None
    suffix = suffixes[-1]
    return _SUFFIXES.get(suffix) or (suffix[1:] if suffix[1:] in FORMATS else None)


def _read_file(path: Path, format: str, fields: Fields) -> Records:
    kind = _format_of(path) if format == "auto" else format
    if kind is None and (fields.parallel or fields.running):  # such as "val.de", "wiki.tokens": what has lines only
        kind = "txt"
    if kind is None:
        raise InputError(f"The format of {path} is unknown: say which with --data.format ({', '.join(FORMATS)}).")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty.")
    datasets = _datasets()
    if kind == "parquet":
        try:
            rows = datasets.load_dataset("parquet", data_files=str(path), split="train")
        except Exception as error:
            raise InputError(f"{path} is not a Parquet file: {_last_line(error)}.") from None
        return _from_table(rows, fields, str(path))
    stat = path.stat()
    key = {"path": str(path.resolve()), "size": stat.st_size, "modified": stat.st_mtime_ns}
    rows = _stored(key, kind, fields, str(path))
    return _complete(rows, fields, str(path))


def _stored(key: Record, kind: str, fields: Fields, shown: str) -> Any:
    try:
        return _datasets().Dataset.from_generator(
            _generate,
            features=fields.features(),
            gen_kwargs={**key, "kind": kind, "shown": shown, "fields": vars(fields)},
        )
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, (InputError, OSError)):
            cause = cause.__cause__
        if cause is not None:
            raise cause from None
        raise


def _generate(path: Any, size: Any, modified: Any, kind: str, shown: str, fields: Record) -> Iterator[Record]:
    """The records of a file; all arguments are part of the cache's key."""
    wanted = Fields(**fields)
    columns = {name: name for name in wanted.columns} if kind in ("conll", "parallel") else wanted.columns
    count = 0
    if kind == "parallel":
        rows = _pairs(path, list(columns))
    else:
        rows = rows_of(path, kind, shown, next(iter(columns.values())), wanted.conll)
    for line, row in rows:
        if not all(column in row for column in columns.values()):
            row = _unnested(row)
        if count == 0 and not any(column in row for column in columns.values()):
            raise _no_column(shown, *next(iter(columns.items())), row, wanted)
        for name, column in columns.items():
            if count == 0 and column not in row and name not in wanted.optional:
                raise _no_column(shown, name, column, row, wanted)
        count += 1
        yield from wanted.lines_of(wanted.record(row, columns, line, f"{shown}, line {line}"))
    if count == 0:
        raise InputError(f"{shown} has no rows.")


def _unnested(row: Record) -> Record:
    """With what stands in an inner object, such as {"translation": {"en": …, "de": …}}, beside it."""
    inner = [value for value in row.values() if isinstance(value, dict)]
    return {**{name: value for part in inner for name, value in part.items()}, **row}


def _is_table(source: str, format: str) -> bool:
    """Whether a source has columns, or is no file."""
    path = Path(source)
    kind = _format_of(path) if format == "auto" else format
    return not path.is_file() or kind not in (None, "txt")


def _read_parallel(first: str, second: str, fields: Fields) -> Records:
    """Two files of lines as records of the first two fields."""
    paths = [Path(first), Path(second)]
    stats = [path.stat() for path in paths]
    key = {  # tuples: `datasets` takes lists for shards
        "path": tuple(str(path.resolve()) for path in paths),
        "size": tuple(stat.st_size for stat in stats),
        "modified": tuple(stat.st_mtime_ns for stat in stats),
    }
    shown = f"{first} and {second}"
    return _complete(_stored(key, "parallel", fields, shown), fields, shown)


def _pairs(paths: tuple[str, str], names: list[str]) -> Iterator[tuple[int, Record]]:
    sides = [rows_of(path, "txt", path, name) for path, name in zip(paths, names, strict=True)]
    line = 0
    for line, (one, other) in enumerate(itertools.zip_longest(*sides), 1):
        if one is None or other is None:
            longer, shorter = paths if other is None else reversed(paths)
            raise InputError(
                f"{longer} has more lines than {shorter}, which ends after line {line - 1}: parallel files need a line "
                f"for each line of the other."
            )
        yield line, {**one[1], **other[1]}


def _no_column(shown: str, name: str, column: str, there: Iterable[str], fields: Fields) -> InputError:
    return InputError(
        f'{shown} has no column "{column}"; it has: {", ".join(there)}. Name yours with {fields.option.format(name)}.'
    )


def _read_stdin(format: str, fields: Fields) -> Records:
    path = Path(_spool().name)
    if path.stat().st_size == 0:
        raise InputError("Standard input is empty.")
    key = {"path": str(path), "size": path.stat().st_size, "modified": path.stat().st_mtime_ns}
    kind = "jsonl" if format == "auto" else format
    return _complete(_stored(key, kind, fields, "standard input"), fields, "standard input")


@cache
def _spool() -> Any:
    """Standard input as a file: it can be read only once, and training reads its data for each split."""
    spool = tempfile.NamedTemporaryFile()
    shutil.copyfileobj(sys.stdin.buffer, spool)
    spool.flush()
    return spool


@cache
def _hub_places(source: str) -> Record:
    datasets = _datasets()
    import huggingface_hub
    from huggingface_hub.errors import RepositoryNotFoundError

    identifier, _, name = source.partition(":")
    local = "To use a file of your own, give its path with --data."
    try:
        if not huggingface_hub.constants.HF_HUB_OFFLINE:
            huggingface_hub.HfApi().dataset_info(identifier, timeout=_HUB_SECONDS)
        splits = datasets.get_dataset_split_names(identifier, name or None)
    except RepositoryNotFoundError:
        raise InputError(f'There is no file and no data set of the hub named "{source}". {local}') from None
    except Exception as error:
        raise InputError(
            f'"{source}" is not a file, and the data-set hub cannot be reached ({type(error).__name__}). {local}'
        ) from None

    def read(split: str, fields: Fields) -> Records:
        try:
            rows = datasets.load_dataset(identifier, name or None, split=split)
        except Exception as error:
            raise InputError(f'The data set "{source}" cannot be loaded: {_last_line(error)}. {local}') from None
        return _from_table(rows, fields, source)

    return {ours: partial(read, theirs) for theirs in splits for ours, names in SPLITS.items() if theirs in names} or {
        "train": partial(read, splits[0])
    }


def _from_table(rows: Any, fields: Fields, shown: str) -> Records:
    """A table that `datasets` read itself: columns chosen and renamed, labels as names."""
    rows = _with_inner(rows, [column for column in fields.columns.values() if column not in rows.column_names])
    for name, column in fields.columns.items():
        if column not in rows.column_names and name not in fields.optional:
            raise _no_column(shown, name, column, rows.column_names, fields)
    present = {name: column for name, column in fields.columns.items() if column in rows.column_names}
    kinds = dict(rows.features)

    def convert(rows: dict[str, list[Any]], indices: list[int]) -> dict[str, list[Any]]:
        records: list[Record] = []
        for place, index in enumerate(indices):
            decoded = {column: _by_name(rows[column][place], kinds[column]) for column in present.values()}
            records += fields.lines_of(fields.record(decoded, present, index + 1, f"{shown}, row {index + 1}"))
        return {name: [record[name] for record in records] for name in features}

    features = fields.features()
    rows = rows.map(convert, with_indices=True, batched=True, remove_columns=rows.column_names, features=features)
    return _complete(rows, fields, shown)


def _with_inner(rows: Any, missing: Iterable[str]) -> Any:
    """With columns that stand inside another, such as "en" in "translation", beside the others."""
    flat = rows.flatten() if missing else rows
    inner = {column: [name for name in flat.column_names if name.endswith(f".{column}")] for column in missing}
    found = {names[0]: column for column, names in inner.items() if len(names) == 1}
    return flat.rename_columns(found) if found else rows


def _by_name(value: Any, feature: Any) -> Any:
    """Classes → their names, also in lists; other values as they are."""
    feature = getattr(feature, "feature", feature)
    if not isinstance(feature, _datasets().ClassLabel):
        return value
    if isinstance(value, (list, tuple)):
        return [_by_name(item, feature) for item in value]
    return feature.int2str(value) if value is not None and value >= 0 else None


def _complete(rows: Any, fields: Fields, shown: str) -> Records:
    """Leaves out the rows that lack what is required, counting them, and renames labels; to predict, it counts the
    inputs that are empty instead."""
    dropped: dict[str, int] = {}
    for name in fields.required:
        missing = (None, "") if name == fields.label else (None,)
        kept = [i for i, value in enumerate(Records(rows).column(name)) if value not in missing]
        if len(rows) and not kept:
            complaint = f'{shown}: no row has a {name} in the column "{fields.columns[name]}".'
            raise NoLabelsError(complaint) if name == fields.label else InputError(complaint)
        if len(kept) < len(rows):
            dropped[f"no {name}"] = len(rows) - len(kept)
            rows = rows.select(kept)
    if fields.label is not None and fields.names:
        rows = rows.map(partial(_rename, label=fields.label, names=dict(fields.names)))
    inputs = Records(rows).columns(*fields.inputs) if fields.predicts else ()
    empty = sum(not any(map(_holds_something, values)) for values in inputs)
    return Records(rows, dropped, [f"empty inputs: {empty:,}"] if empty else ())


def _holds_something(value: Any) -> bool:
    return bool(value.strip() if isinstance(value, str) else value)


def _rename(row: Record, label: str, names: dict[str, str]) -> Record:
    return {label: names.get(row[label], row[label])}


def _last_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[-1].rstrip(".")
