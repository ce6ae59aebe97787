"""Tables that `datasets` reads itself → records: columns are chosen, rows that cannot be used left out and counted."""

from __future__ import annotations

import hashlib
import warnings
from collections import Counter
from collections.abc import Iterable
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlp_rnn.data.fields import Fields
from nlp_rnn.data.records import Record, Records
from nlp_rnn.errors import InputError
from nlp_rnn.paths import use_writable_home

if TYPE_CHECKING:
    from types import ModuleType

_CHUNK = 10_000


class NoLabelsError(InputError):
    """A source whose rows are all without a label."""


def datasets_library() -> ModuleType:
    """`datasets`, imported where it is first needed (a second), its progress bars off."""
    use_writable_home()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="IProgress not found")  # of tqdm, in a notebook
        import datasets

    datasets.disable_progress_bars()
    return datasets


@cache
def reading_rules() -> str:
    """A digest of the code that reads, for the keys of what `datasets` keeps: another version reads anew."""
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def from_parquet(path: str, shown: str, fields: Fields) -> Records:
    """The records of a Parquet file.

    Raises:
        InputError: it is none, or has no rows.
    """
    import pyarrow.parquet

    try:
        count = pyarrow.parquet.read_metadata(path).num_rows
        rows = datasets_library().load_dataset("parquet", data_files=path, split="train") if count else None
    except Exception as error:
        raise InputError(f"{shown} is not a Parquet file: {last_line(error)}.") from None
    if rows is None:
        raise InputError(f"{shown} has no rows.")
    return from_table(rows, fields, shown)


def from_table(rows: Any, fields: Fields, shown: str) -> Records:
    """The records of a `datasets.Dataset`: columns chosen and renamed, labels as names."""
    missing = [column for column in fields.names_wanted if column not in rows.column_names]
    rows = _with_inner(rows, missing)
    fields = fields.within(rows.column_names)
    for name, column in fields.columns.items():
        if column not in rows.column_names and name not in fields.optional:
            raise no_column(shown, name, column, rows.column_names, fields)
    columns = {name: column for name, column in fields.columns.items() if column in rows.column_names}
    columns = dict(fields.columns) if fields.adapt else columns
    kinds = dict(rows.features)
    read = [name for name in rows.column_names if fields.adapt or name in columns.values()]

    def convert(rows: dict[str, list[Any]], indices: list[int], rules: str) -> dict[str, list[Any]]:
        records: list[Record] = []
        for place, index in enumerate(indices):
            row, reason = fields.adapted({column: _by_name(rows[column][place], kinds[column]) for column in read})
            where = f"{shown}, row {index + 1}"
            records += fields.lines_of(fields.record(row, columns, index + 1, where, dropped=reason))
        return {name: [record[name] for record in records] for name in features}

    features = fields.stored_features()
    how = {"with_indices": True, "batched": True, "fn_kwargs": {"rules": reading_rules()}}
    rows = rows.map(convert, remove_columns=rows.column_names, features=features, **how)
    return complete(rows, fields, shown)


def no_column(shown: str, name: str, column: str, there: Iterable[str], fields: Fields) -> InputError:
    """Says that a source lacks a column, and which it has."""
    return InputError(
        f'{shown} has no column "{column}"; it has: {", ".join(there)}. Name yours with {fields.option.format(name)}.'
    )


def complete(rows: Any, fields: Fields, shown: str, notes: Iterable[str] = ()) -> Records:
    """Leaves out the rows that lack what is required, counting them, and renames labels; to predict, it counts the
    inputs that are empty instead.

    Args:
        rows: with `Fields.stored_features`.
        fields: what was read.
        shown: the source's name for messages.
        notes: on how it was read.
    """
    notes = [*notes, *(f"{what}: {count:,}" for what, count in _counts(rows, "noted").items())]
    dropped = _counts(rows, "dropped")
    if dropped:
        rows = rows.select([i for i, reason in enumerate(Records(rows).column("dropped")) if reason is None])
        if not len(rows):
            raise InputError(f"{shown}: no row is left; {', '.join(f'{n:,} {what}' for what, n in dropped.items())}.")
    rows = rows.remove_columns(["noted", "dropped"])
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
    return Records(rows, dropped, [*notes, *([f"empty inputs: {empty:,}"] if empty else [])])


def last_line(error: BaseException) -> str:
    """The last line of what an error says."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[-1].rstrip(".")


def _counts(rows: Any, column: str) -> dict[str, int]:
    """How often each text occurs in a column of texts, or of lists of texts."""
    import pyarrow
    from pyarrow import compute

    found: Counter[str] = Counter()
    for part in rows.select_columns([column]).with_format("arrow").iter(_CHUNK):
        values = part.column(column)
        flat = compute.list_flatten(values) if pyarrow.types.is_list(values.type) else values
        found.update({entry["values"]: entry["counts"] for entry in compute.value_counts(flat.drop_null()).to_pylist()})
    return dict(sorted(found.items()))


def _with_inner(rows: Any, missing: Iterable[str]) -> Any:
    """With columns that stand inside another, such as "en" in "translation", beside the others."""
    flat = rows.flatten() if missing else rows
    inner = {column: [name for name in flat.column_names if name.endswith(f".{column}")] for column in missing}
    found = {names[0]: column for column, names in inner.items() if len(names) == 1}
    return flat.rename_columns(found) if found else rows


def _by_name(value: Any, feature: Any) -> Any:
    """Classes → their names, also in lists; other values as they are."""
    feature = getattr(feature, "feature", feature)
    if not isinstance(feature, datasets_library().ClassLabel):
        return value
    if isinstance(value, (list, tuple)):
        return [_by_name(item, feature) for item in value]
    return feature.int2str(value) if value is not None and value >= 0 else None


def _holds_something(value: object) -> bool:
    return bool(value.strip() if isinstance(value, str) else value)


def _rename(row: Record, label: str, names: dict[str, str]) -> Record:
    return {label: names.get(row[label], row[label])}
