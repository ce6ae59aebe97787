"""Tables of numbers → frames of pandas with all their columns, from wherever sources lie."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlp_rnn.data.delimited import delimiter_of
from nlp_rnn.data.files import spooled
from nlp_rnn.data.lines import lines_of, without_ends
from nlp_rnn.data.memory import shown_name
from nlp_rnn.data.readers import LOGS, Form
from nlp_rnn.data.records import LINE
from nlp_rnn.data.sources import hub_rows, split_files
from nlp_rnn.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

_MISSING = ["", "NA", "N/A", "#N/A", "n/a", "NaN", "nan", "-nan", "null", "NULL", "None", "<NA>", "-"]
TABULAR = ("csv", "tsv", "jsonl", "parquet", "txt")


def read_frame(
    sources: Iterable[str], split: str, form: Form, texts: Iterable[str], starter: Path | None = None
) -> tuple[pd.DataFrame, str] | None:
    """One split of sources, one below the other.

    Args:
        sources: files, folders, names of data sets on the hub, "starter", or "-" for standard input.
        split: "train", "validation" or "test"; of a source that is one file, only "train" is there.
        form: how files are written.
        texts: columns that are never numbers, such as ids.
        starter: the folder that "starter" stands for.

    Returns:
        The rows with `LINE` beside their columns, and what the source is called in messages; None where no source has
        the split.

    Raises:
        InputError: a source cannot be read.
    """
    import pandas as pd

    parts = []
    for source in sources:
        place = _place_of(source, split, starter)
        if place is not None:
            frame = place() if callable(place) else frame_of_file(place, form, {*texts})
            parts.append((frame, source if source == "starter" else shown_name(source)))
    if not parts:
        return None
    frame = parts[0][0] if len(parts) == 1 else pd.concat([frame for frame, _ in parts], ignore_index=True)
    return frame, " and ".join(shown for _, shown in parts)


def _place_of(source: str, split: str, starter: Path | None) -> Any:
    """A file, or a function that gives a frame; None where the source has no such split."""
    if source == "starter" and starter is None:
        raise InputError("This task has no starter corpus: name your data with --data.")
    path = starter if source == "starter" else Path(source)
    assert path is not None
    if source != "-" and path.is_dir():
        return split_files(path, f"{source} is a folder without data").get(split)
    if source == "-" or path.exists():
        return path if split == "train" else None
    rows = hub_rows(source).get(split)
    return None if rows is None else lambda: _numbered(rows().to_pandas())


def frame_of_file(path: Path, form: Form, texts: set[str]) -> pd.DataFrame:
    """The rows of a file, or of standard input for "-"; see `read_frame`."""
    import pandas as pd

    kind, shown = form.kind_of(path), "Standard input" if str(path) == "-" else shown_name(path)
    path = path if path.is_file() else Path(spooled(str(path)).name)
    if path.stat().st_size == 0:
        raise InputError(f"{shown} is empty.")
    kind = kind or _guessed(path, shown)
    if kind not in TABULAR:
        raise InputError(f"{shown} is {kind}; a table of numbers must be one of {', '.join(TABULAR)}.")
    if kind == "parquet":
        try:
            return _numbered(pd.read_parquet(path))
        except Exception as error:
            raise InputError(f"{shown} is not a Parquet file: {str(error).splitlines()[0]}.") from None
    if kind == "jsonl":
        return _of_json(path, shown)
    if kind == "txt":
        lines = list(without_ends(lines_of(str(path), shown)))
        return _numbered(pd.DataFrame({"history": [line for line in lines if line.strip()]}))
    return _of_delimited(path, shown, form.delimiter or delimiter_of(str(path), kind, shown, ()), texts)


def _guessed(path: Path, shown: str) -> str:
    first = next((line for line in lines_of(str(path), shown) if line.strip()), "").lstrip()
    return "jsonl" if first[:1] in ("{", "[") else "txt" if shown.lower().endswith(LOGS) else "csv"


def _of_delimited(path: Path, shown: str, delimiter: str, texts: set[str]) -> pd.DataFrame:
    import pandas as pd

    text = "".join(lines_of(str(path), shown))
    if text.lower().startswith("sep="):
        text = text.partition("\n")[2]
    options: dict[str, Any] = {"sep": delimiter, "skip_blank_lines": True, "low_memory": False}
    try:
        header = pd.read_csv(io.StringIO(text), header=None, nrows=1, dtype=str, **options).iloc[0].dropna()
        if header.duplicated().any():
            raise InputError(f'{shown}: the header has "{header[header.duplicated()].iloc[0]}" twice; rename one.')
        names = pd.read_csv(io.StringIO(text), nrows=0, **options).columns
        kinds = {name: str for name in names if name in texts}
        missing: Any = {name: [""] if name in texts else _MISSING for name in names}  # a name may be "NA"
        options |= {"dtype": kinds, "na_values": missing, "keep_default_na": False, "index_col": False}
        frame = pd.read_csv(io.StringIO(text), **options)
    except pd.errors.ParserError as error:
        raise InputError(
            f"{shown} is no table: {str(error).removeprefix('Error tokenizing data. C error: ').strip()}."
        ) from None
    except pd.errors.EmptyDataError:
        raise InputError(f"{shown} has no rows.") from None
    for name in frame.columns:  # a comma before the decimals, where columns are parted by something else
        column = frame[name]
        if delimiter != "," and column.dtype == object and name not in texts:
            plain = column.dropna().astype(str).str.strip()
            if len(plain) and plain.str.fullmatch(r"[-+]?\d+(,\d+)?").all():
                frame[name] = pd.to_numeric(column.astype(str).str.replace(",", "."), errors="coerce")
    return _with_rows(_numbered(frame, 2), shown)


def _of_json(path: Path, shown: str) -> pd.DataFrame:
    """Objects, one a line or in a list; dates and numbers in texts stay texts."""
    import pandas as pd

    rows, numbers = [], []
    lines = list(lines_of(str(path), shown))
    if "".join(lines[:1]).lstrip()[:1] == "[":
        try:
            rows = json.loads("".join(lines))
        except ValueError as error:
            raise InputError(f"{shown} is not valid JSON: {error}.") from None
        numbers = list(range(1, len(rows) + 1))
    else:
        for number, line in enumerate(lines, 1):
            if line.strip():
                try:
                    rows.append(json.loads(line))
                except ValueError as error:
                    raise InputError(f"{shown}, line {number} is not valid JSON: {error}.") from None
                numbers.append(number)
    if wrong := [number for number, row in zip(numbers, rows, strict=True) if not isinstance(row, dict)]:
        raise InputError(f"{shown}, line {wrong[0]} is no object with named values.")
    frame = pd.DataFrame(rows)
    frame[LINE] = numbers
    return _with_rows(frame, shown)


def _numbered(frame: pd.DataFrame, first: int = 1) -> pd.DataFrame:
    frame = frame.reset_index(drop=True)
    frame.columns = [str(name).strip() for name in frame.columns]
    frame[LINE] = range(first, first + len(frame))
    return frame


def _with_rows(frame: pd.DataFrame, shown: str) -> pd.DataFrame:
    if not len(frame):
        raise InputError(f"{shown} has no rows.")
    return frame
