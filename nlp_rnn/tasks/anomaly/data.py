"""Sources → sessions of events → vocabulary, simple methods → batches of windows."""

from __future__ import annotations

import re
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlp_rnn.assets import Assets, Facts
from nlp_rnn.config.sections import split_seed
from nlp_rnn.config.values import refuse_settings
from nlp_rnn.data.records import LINE
from nlp_rnn.errors import InputError
from nlp_rnn.tasks.anomaly.settings import Config, EventData
from nlp_rnn.tasks.inputs import SessionInput
from nlp_rnn.text.templates import SEPARATORS, template_of

if TYPE_CHECKING:
    import pandas as pd

    from nlp_rnn.data.batching import Batches
    from nlp_rnn.data.records import Record, Records

_EVENT = re.compile(f"[^{SEPARATORS}]+", re.ASCII)
_LINE = re.compile(f"[^{SEPARATORS}]([^\\n]*[^{SEPARATORS}])?", re.ASCII)
RESOURCES = "nlp_rnn.tasks.anomaly"
_NAMES = {
    "events": ("events", "message", "msg", "log", "line", "content", "text", "history"),
    "session": ("session", "session_id", "block_id", "blockid", "trace_id", "request_id"),
    "label": ("label", "anomaly", "is_anomaly"),
}


def read(config: Config, split: str) -> Records | None:
    """Records `{"events", "session", "label", "line"}`, a session each, its events as a text; those to train and
    validate on are normal."""
    from nlp_rnn.data.records import Records

    data = config.data
    if split == "predict":
        rows, notes = _given(data, data.test or data.train, "train", "test")
        return Records(rows, notes=notes)
    if split == "test" and (data.test or _load(data, data.train, "test") is not None):
        rows, notes = _given(data, data.test or data.train, *(("train", "test") if data.test else ("test",)))
        return Records(rows, notes=notes)
    parts = _parts(config)
    return parts.get(split)


def _parts(config: Config) -> dict[str, Records]:
    """The training data as they are, or cut into parts; anomalies go to the test part, if there is one to make."""
    import numpy as np

    from nlp_rnn.data.records import Records

    data = config.data
    rows, notes = _given(data, data.train, "train")
    normal, odd = ([row for row in rows if row["odd"] is which] for which in (False, True))
    if not normal:
        labels = sorted({str(row["label"]) for row in odd})[:5]
        raise InputError(
            f"No session is normal: the labels are {', '.join(labels)}; name those that are (--data.normal)."
        )
    if odd:
        notes = [*notes, f"sessions that are not normal, left out of training: {len(odd):,}"]
    validation = None
    if data.validation or _load(data, data.train, "validation") is not None:
        found, more = _given(data, data.validation or data.train, *(("train",) if data.validation else ("validation",)))
        validation = Records([row for row in found if not row["odd"]], notes=more)
    order = np.random.default_rng(split_seed(config)).permutation(len(normal))
    sizes = {"test": round(len(normal) * data.test_fraction)}
    sizes["validation"] = 0 if validation is not None else max(round(len(normal) * data.validation_fraction), 1)
    sizes["validation"] *= data.validation_fraction > 0 or validation is not None
    cut = [normal[i] for i in order]
    test, held, kept = (
        cut[: sizes["test"]],
        cut[sizes["test"] : sum(sizes.values())],
        cut[sum(sizes.values()) :],
    )
    if not kept:
        raise InputError(f"{len(normal):,} normal sessions are too few to hold some out of: give more.")
    parts = {"train": Records(kept, notes=notes)}
    if validation is not None or held:
        parts["validation"] = validation or Records(held, notes=["held out from the training data"])
    if test:
        parts["test"] = Records([*test, *odd], notes=["held out from the training data, with all that is not normal"])
    return parts


def _given(data: EventData, sources: tuple[str, ...], *splits: str) -> tuple[list[Record], list[str]]:
    from nlp_rnn.data.labels import is_normal

    for split in splits:
        if (found := _load(data, sources, split)) is not None:
            rows, notes = found
            return [{**row, "odd": not is_normal(row.get("label"), data.normal)} for row in rows], notes
    raise InputError(f"{', '.join(sources)} has no {' or '.join(splits)} data: give some with --data.")


def _load(data: EventData, sources: tuple[str, ...], split: str) -> tuple[list[Record], list[str]] | None:
    if sources == ("starter",):
        from nlp_rnn.tasks.anomaly.starter import sessions

        return _grouped_lines(sessions(split), data), []
    stamps = tuple(path.stat().st_mtime_ns for path in map(Path, sources) if path.is_file())
    return _loaded(replace(data, train=(), validation=(), test=()), tuple(sources), split, stamps)


@lru_cache(maxsize=6)
def _loaded(
    data: EventData, sources: tuple[str, ...], split: str, stamps: tuple[int, ...]
) -> tuple[list[Record], list[str]] | None:
    from nlp_rnn.data.frames import read_frame
    from nlp_rnn.data.readers import Form

    texts = {data.events, data.session, data.label, *_NAMES["session"], *_NAMES["events"]} - {""}
    found = read_frame(sources, split, Form(data.format, data.delimiter), texts)
    if found is None:
        return None
    frame, shown = found
    columns = {kind: _column(frame, kind, getattr(data, kind), shown) for kind in _NAMES}
    kept = frame.dropna(subset=[columns["events"]])
    missing = len(frame) - len(kept)
    notes = [f"rows without events, left out: {missing:,}"] if missing else []
    if not len(kept):
        raise InputError(f'{shown}: no row has anything in "{columns["events"]}".')
    if is_lines(data, columns["events"], kept[columns["events"]].iloc[0]):
        return _grouped_lines(_lines(kept, columns), data), notes
    rows = []
    for row in kept.to_dict("records"):
        value = row[columns["events"]]
        name = str(row[columns["session"]]) if columns["session"] else ""
        about = {"session": name, "label": _label(row, columns), "kind": row.get("kind"), "line": row[LINE]}
        rows.append({"events": SessionInput().parse(value), **about})
    return rows, notes


def _column(frame: pd.DataFrame, kind: str, asked: str, shown: str) -> str:
    there = [name for name in frame.columns if name != LINE]
    if asked and asked not in there:
        raise InputError(f'{shown} has no column "{asked}"; it has: {", ".join(there)}.')
    lower = {name.lower(): name for name in reversed(there)}
    found = asked or next((lower[name] for name in _NAMES[kind] if name in lower), "")
    if kind == "events" and not found:
        raise InputError(
            f"{shown} has no column of events; it has: {', '.join(there)}: name it with --data.events; or name "
            f"the columns of values over time with --data.time and --data.target."
        )
    return found


def is_lines(data: EventData, column: str, value: object) -> bool:
    """Whether the values of a column are lines of a log, rather than sessions."""
    if data.form != "auto":
        return data.form == "lines"
    return isinstance(value, str) and column.lower() != "events"


def _label(row: Record, columns: dict[str, str]) -> str | None:
    value = row.get(columns["label"]) if columns["label"] else None
    return None if value is None or value != value else str(value)


def _lines(frame: pd.DataFrame, columns: dict[str, str]) -> list[Record]:
    return [
        {
            "event": str(row[columns["events"]]),
            "session": str(row[columns["session"]]) if columns["session"] else None,
            "label": _label(row, columns),
            "kind": row.get("kind"),
            "line": row[LINE],
        }
        for row in frame.to_dict("records")
    ]


def _grouped_lines(lines: list[Record], data: EventData) -> list[Record]:
    """Lines of one session together, in their order, or as many after each other as a chunk has; a session with a line
    that is not normal has its label."""
    from nlp_rnn.data.labels import is_normal

    groups: dict[Any, list[Record]] = {}
    for place, line in enumerate(lines):
        name = line["session"]
        groups.setdefault(place // data.chunk if name is None else name, []).append(line)
    found = []
    for name, group in groups.items():
        odd = next((line["label"] for line in group if not is_normal(line["label"], data.normal)), group[0]["label"])
        shown = f"lines {group[0]['line']}–{group[-1]['line']}" if group[0]["session"] is None else name
        events = "\n".join(line["event"] for line in group)
        kind = next((line["kind"] for line in group if line["label"] == odd), None)
        about = {"session": shown, "label": odd, "kind": kind, "line": group[0]["line"]}
        found.append({"events": events, **about, "form": "chunk" if group[0]["session"] is None else "lines"})
    return found


def words_of(text: str, lines: bool) -> str:
    """The events of a session as words: templates of its lines, or what stands between blanks."""
    return " ".join(filter(None, map(template_of, text.split("\n")))) if lines else " ".join(_EVENT.findall(text))


def spans_of(text: str, lines: bool) -> list[tuple[int, int]]:
    r"""Where the events that `words_of` gives stand, from one code point to another.

    >>> spans_of("user 5 logs in\r\n\x7f\nbye", True), spans_of("open\x1bclose", False)
    ([(0, 14), (18, 21)], [(0, 4), (5, 10)])
    """
    return [found.span() for found in (_LINE if lines else _EVENT).finditer(text)]


def assets(config: Config, records: Records) -> Assets:
    """Collects the events, and fits the simple methods."""
    import numpy as np

    from nlp_rnn.config.sections import TokenizerConfig
    from nlp_rnn.data.tokenizing import encode
    from nlp_rnn.tasks.anomaly.baselines import Simple
    from nlp_rnn.text.tokenizers import train_tokenizer

    refuse_settings(config.train, "train", "anomaly detection", "class_weights", "label_smoothing")
    if config.stack.bidirectional:
        raise InputError("Events are read in one direction: give --stack.bidirectional False.")
    if config.embedding.vectors:
        raise InputError("There are no vectors of events: leave --embedding.vectors out.")
    lines = any(row.get("form") in ("lines", "chunk") for row in records)
    words = [words_of(row["events"], lines) for row in records]
    settings = TokenizerConfig(
        "word", 1_000_000, split="whitespace", normalization="none", min_count=config.data.min_count
    )
    tokenizer = train_tokenizer(settings, words)
    kinds = tokenizer.size - 4
    if kinds < 2:
        raise InputError(f"Training has {kinds} kind of event: there is nothing to expect; are --data.events right?")
    notes = [f"{kinds:,} kinds of {'lines' if lines else 'events'}."]
    if kinds > 5_000 and kinds > sum(len(w.split()) for w in words) / 10:
        notes.append("Very many kinds of events: what varies in them should be masked, or left out, before.")
    ends = not any(row.get("form") == "chunk" for row in records)
    judge = Facts(lines=lines, ends=ends, score=asdict(config.score))
    ids, lengths = encode(tokenizer, words)
    simple = Simple.of(np.split(ids, np.cumsum(lengths)[:-1]), tokenizer.size)
    return Assets({"tokenizer": tokenizer, "judge": judge, "simple": simple}, notes)


def batches(config: Config, assets: Assets, records: Records, seed: int | None) -> Batches:
    """Windows of sessions: `{"tokens", "targets"}`, each event after those before it."""
    import numpy as np

    from nlp_rnn.data.batching import Batches, Rows
    from nlp_rnn.text.tokenizer import BEGIN

    ids, lengths = encoded(assets, records)
    window, parts, rows_of = config.data.window, [], []
    before = np.concatenate([[BEGIN], ids[:-1]]).astype(np.int32)
    before[np.cumsum(lengths) - lengths] = BEGIN
    for record, length in enumerate(lengths):
        part = [min(window, int(length) - start) for start in range(0, int(length), window)]
        parts += part
        rows_of += [record] * len(part)
    sizes = np.array(parts, np.int64)
    rows = {"tokens": Rows([(before, sizes)]), "targets": Rows([(ids, sizes)])}
    targets = rows["targets"]
    features = {"tokens": rows["tokens"]} if seed is not None else rows
    size = config.train.batch_size if seed is not None else max(config.train.batch_size, 64)
    return Batches(features, targets, size, None, seed, config.train.buckets, record_of=np.array(rows_of))


def encoded(assets: Assets, records: Records) -> tuple[Any, Any]:
    """The ids of all sessions behind each other, and how many each has, with the end of those that are
    whole; one without events has the unknown one."""
    import numpy as np

    from nlp_rnn.data.tokenizing import encode
    from nlp_rnn.text.tokenizer import END

    words = [words_of(row["events"] or "", assets.judge["lines"]) for row in records]
    ids, lengths = encode(assets.tokenizer, words)
    if not assets.judge["ends"]:
        return ids, lengths
    return np.insert(ids, np.cumsum(lengths), END), lengths + 1
