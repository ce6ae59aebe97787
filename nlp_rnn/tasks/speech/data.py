"""Sources → recordings with texts → tokenizer, what is usual in spectra → batches of samples."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlp_rnn.assets import Assets, Facts
from nlp_rnn.config.sections import split_seed
from nlp_rnn.config.values import refuse_settings
from nlp_rnn.errors import InputError
from nlp_rnn.tasks.speech.settings import Config, SpeechData

if TYPE_CHECKING:
    import numpy as np

    from nlp_rnn.data.batching import EpochSource
    from nlp_rnn.data.records import Record, Records

RESOURCES = "nlp_rnn.tasks.speech"
_HIGHEST_RATE, _GRID, _QUIET = 16_000, 25, 0.2
_PASSES = 4  # strings that are measured use each recording so often
_UNKNOWN = 1
_TOO_SHORT = "too short for their text at steps of this length (--audio.frames, --audio.hop), left out"
_MEASURED = 400  # recordings from which it is learned what is usual


def read(config: Config, split: str) -> Records | None:
    """Records `{"audio", "text", "speaker", "line"}`; of strings, "audio" has several, and "pauses" the seconds
    between them. Those of "predict" need no text."""
    from nlp_rnn.data.records import Records

    data = config.data
    for name in ("strings", "measured_strings", "pauses"):
        low, high = getattr(data, name)
        if low > high:
            raise InputError(f"data.{name} is {low:g} {high:g}; the second must be as large as the first, or larger.")
    if split == "predict":
        rows, notes = _given(data, data.test or data.train, ("train", "test"), need_texts=False)
        return Records(rows, notes=notes)
    given = getattr(data, split) if split != "train" else ()
    if given:
        rows, notes = _given(data, given, (split, "train"))
        if split == "test":
            rows, notes = _chosen(data, rows, notes)
        return _finished(config, split, rows, notes)
    if split != "train" and (found := _load(data, data.train, split)) is not None:
        return _finished(config, split, *_with_texts(data, data.train, *found))
    rows, notes = _part(config, split)
    return _finished(config, split, rows, notes) if rows else None


def _part(config: Config, split: str) -> tuple[list[Record], list[str]]:
    """A part of the training data; the same one every time."""
    import numpy as np

    data = config.data
    rows, notes = _given(data, data.train, ("train",))
    test = [row for row in rows if is_test(data, row)]
    rest = [row for row in rows if not is_test(data, row)]
    if data.test_where and (not test or not rest):
        names = sorted({name for row in rows for name in row} - {"audio", "text", "line"})
        raise InputError(
            f"data.test_where fits {'no' if rest else 'every'} recording: {' and '.join(data.test_where)}; there is: "
            f"{', '.join(f'{n} ({_values(rows, n)})' for n in names)}."
        )
    if split == "test" and data.test_where:
        return test, [f"where {' and '.join(data.test_where)}"]
    order, start = np.random.default_rng(split_seed(config)).permutation(len(rest)), 0
    for name, fraction in (("validation", data.validation_fraction), ("test", data.test_fraction)):
        has = getattr(data, name) or (name == "test" and data.test_where) or _load(data, data.train, name) is not None
        count = 0 if has else max(round(len(rest) * fraction), 1 if fraction and len(rest) > 2 else 0)
        if split == name:
            return [rest[i] for i in sorted(order[start : start + count])], [
                f"held out from the training data ({fraction:.0%})"
            ]
        start += count
    return [rest[i] for i in sorted(order[start:])], notes


def _values(rows: list[Record], name: str) -> str:
    values = sorted({str(row.get(name, "")) for row in rows})
    return ", ".join(values[:6]) + (", …" if len(values) > 6 else "")


def is_test(data: SpeechData, row: Record) -> bool:
    """Whether a recording is of the test part that `data.test_where` names."""
    wanted = _conditions(data)
    return bool(wanted) and all(str(row.get(name, "")) in values for name, values in wanted.items())


def _conditions(data: SpeechData) -> dict[str, list[str]]:
    found = {}
    for condition in data.test_where:
        name, equals, values = condition.partition("=")
        if not (name and equals and values):
            raise InputError(f'data.test_where is "{condition}"; it must be a name and values, such as take=0,1,2.')
        found[name.strip()] = [value.strip() for value in values.split(",")]
    return found


def _chosen(data: SpeechData, rows: list[Record], notes: list[str]) -> tuple[list[Record], list[str]]:
    """Of what is given to be tested, the test part, if it has one."""
    chosen = [row for row in rows if is_test(data, row)]
    if not chosen or len(chosen) == len(rows):
        return rows, notes
    return chosen, [*notes, f"where {' and '.join(data.test_where)}; others, left out: {len(rows) - len(chosen):,}"]


def _given(
    data: SpeechData, sources: tuple[str, ...], splits: Sequence[str], need_texts: bool = True
) -> tuple[list[Record], list[str]]:
    for split in splits:
        if (found := _load(data, sources, split, need_texts)) is not None:
            return _with_texts(data, sources, *found) if need_texts else found
    raise InputError(f"{', '.join(sources)} has no {' or '.join(splits)} data: give some with --data.")


def _load(
    data: SpeechData, sources: tuple[str, ...], split: str, need_texts: bool = True
) -> tuple[list[Record], list[str]] | None:
    from nlp_rnn.data.readers import Form
    from nlp_rnn.data.recordings import Naming, read_recordings

    if sources == ("starter",):
        from nlp_rnn.tasks.speech.starter import spoken_digits

        rows = spoken_digits(split)
        return None if rows is None else (rows, [])
    columns = {kind: getattr(data, kind) for kind in ("audio", "text", "speaker")}
    naming = Naming(columns, data.pattern, Form(data.format, data.delimiter), need_texts)
    found = read_recordings(sources, split, naming)
    return None if found is None else (found[0], [])


def _with_texts(
    data: SpeechData, sources: tuple[str, ...], rows: list[Record], notes: list[str]
) -> tuple[list[Record], list[str]]:
    """Those that have a text, as it is learned."""
    kept = []
    for row in rows:
        if row["text"] is not None:
            words = str(row["text"])
            words = " ".join(data.words.get(word, word) for word in words.split()) if data.words else words
            kept.append({**row, "text": plain(words) if data.spelling == "plain" else " ".join(words.split())})
    if not kept:
        raise InputError(f"{', '.join(sources)}: no recording has a text; name their column with --data.text.")
    missing = len(rows) - len(kept)
    return kept, [*notes, *([f"recordings without a text, left out: {missing:,}"] if missing else [])]


def plain(text: str) -> str:
    """A text as it is heard: small letters, digits, apostrophes within words, and blanks.

    >>> plain("“It’s  half-past 8,” she said.")
    "it's half past 8 she said"
    """
    text = unicodedata.normalize("NFKC", text).lower().replace("’", "'")
    kept = "".join(c if c == "'" or unicodedata.category(c)[0] in "LMN" else " " for c in text)
    return " ".join(re.sub(r"(?<!\w)'|'(?!\w)", " ", kept).split())


def _finished(config: Config, split: str, rows: list[Record], notes: list[str]) -> Records:
    """Records, with strings of them beside where these are measured."""
    import numpy as np

    from nlp_rnn.data.records import Records
    from nlp_rnn.data.utterances import groups_of

    data = config.data
    sizes = data.measured_strings
    if split == "train" or sizes == (1, 1) or not rows:
        return Records(rows, notes=notes)
    rng, strings = np.random.default_rng(config.train.seed), []
    speakers, seeds = [row["speaker"] for row in rows], range(config.train.seed, config.train.seed + _PASSES)
    for members, counts in (group for seed in seeds for group in groups_of(speakers, sizes, seed)):
        order, start = rng.permutation(members), 0
        for count in counts:
            parts = [rows[i] for i in order[start : start + count]]
            start += count
            if len(parts) >= sizes[0]:
                strings.append(_joined(parts, rng.uniform(*data.pauses, len(parts) - 1).round(3).tolist()))
    return Records([*rows, *strings], notes=[*notes, f"strings of them: {len(strings):,}"])


def _joined(parts: list[Record], pauses: list[float]) -> Record:
    return {
        **{key: parts[0].get(key) for key in ("speaker", "line")},
        "audio": tuple(part["audio"] for part in parts),
        "text": " ".join(part["text"] for part in parts),
        "pauses": tuple(pauses),
    }


def samples_of(record: Record, rate: int) -> tuple[np.ndarray, int]:
    """The samples of a record at a rate, float32 `[time]`, and the rate that it had."""
    import numpy as np

    audio = record["audio"]
    if not isinstance(audio, (tuple, list)):
        samples, own = audio.decoded()
        return _at(samples, own, rate), own
    parts, own = [], rate
    for place, sound in enumerate(audio):
        samples, own = sound.decoded()
        parts.append(_at(samples, own, rate))
        if place < len(record["pauses"]):
            parts.append(np.zeros(round(record["pauses"][place] * rate), np.float32))
    return np.concatenate(parts), own


def _at(samples: np.ndarray, own: int, rate: int) -> np.ndarray:
    if own == rate:
        return samples
    import numpy as np

    from nlp_rnn.tasks.speech.model import converter

    return np.asarray(converter(rate)(samples, own))


def assets(config: Config, records: Records) -> Assets:
    """Learns what is written, and what is usual in spectra."""
    import numpy as np

    from nlp_rnn.layers.spectral import LogMel
    from nlp_rnn.text.tokenizers import train_tokenizer

    refuse_settings(config.train, "train", "speech recognition", "class_weights", "label_smoothing")
    if config.stack.bidirectional and config.audio.lookahead:
        raise InputError(
            "Layers that read in both directions hear all that follows: leave --audio.lookahead out, or give "
            "--stack.bidirectional False."
        )
    if config.train.jit == "on":
        raise InputError("XLA has no CTC: leave --train.jit on out.")
    if config.search.language_model:
        from nlp_rnn.saved import read_settings

        read_settings(Path(config.search.language_model), "language-modeling")
    texts = [row["text"] for row in records]
    if not any(texts):
        raise InputError("All texts are empty: there is nothing to learn to write.")
    tokenizer = train_tokenizer(config.tokenizer, texts)
    chosen = records.select(np.unique(np.linspace(0, len(records) - 1, _MEASURED).astype(int)).tolist())
    found = [row["audio"].decoded() for row in chosen]
    rates = Counter(rate for _, rate in found)
    rate = config.audio.rate or min(rates.most_common(1)[0][0], _HIGHEST_RATE) // _GRID * _GRID
    if rate % _GRID:
        raise InputError(f"audio.rate is {rate:,}; it must be a multiple of {_GRID}.")
    audio = config.audio
    if round(audio.window * rate) < 8 or round(audio.hop * rate) < 1:
        raise InputError(f"audio.window is {audio.window:g} s, and audio.hop {audio.hop:g} s: too few samples.")
    mel = LogMel(rate, audio.mels, audio.window, audio.hop)
    mel.build()
    frames = np.concatenate([np.asarray(mel.spectra(_at(one, own, rate)[None]))[0] for one, own in found])
    notes = [f"{' and '.join(f'{r:,}' for r in sorted(rates))} samples a second; the model reads {rate:,}."]
    spread = np.maximum(frames.std(0), 0.1)
    facts = Facts(rate=rate, mean=frames.mean(0).round(4).tolist(), spread=spread.round(4).tolist())
    return Assets({"tokenizer": tokenizer, "facts": facts}, notes if len(rates) > 1 or rate not in rates else [])


def settle(config: Config, assets: Assets, records: Records) -> tuple[Config, str]:
    """Writes down the rate."""
    return replace(config, audio=replace(config.audio, rate=assets.facts["rate"])), ""


def ids_of(assets: Assets, texts: Sequence[str]) -> list[np.ndarray]:
    """The ids of texts, none of one that is empty."""
    import numpy as np

    from nlp_rnn.data.tokenizing import encode

    values, lengths = encode(assets.tokenizer, list(texts))
    rows = np.split(values, np.cumsum(lengths)[:-1]) if len(texts) else []
    return [ids if text.strip() else ids[:0] for ids, text in zip(rows, texts, strict=True)]


def batches(config: Config, assets: Assets, records: Records, seed: int | None) -> EpochSource:
    """Batches of `{"samples", "lengths"}` with ids to learn; to predict, of the pieces of each recording, with where
    they begin."""
    return _to_train(config, assets, records, seed) if seed is not None else _to_predict(config, assets, records)


def _to_train(config: Config, assets: Assets, records: Records, seed: int) -> EpochSource:
    import numpy as np

    from nlp_rnn.data.batching import Rows
    from nlp_rnn.data.utterances import SCALE, Changes, Utterances
    from nlp_rnn.layers.ctc import steps_needed
    from nlp_rnn.tasks.speech.model import steps_of

    data, rate = config.data, assets.facts["rate"]
    ids = ids_of(assets, [row["text"] for row in records])
    counts, kept, lengths = Counter[str](), [], []

    def parts() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for place, record in enumerate(records):
            samples, _ = samples_of(record, rate)
            if len(samples) > data.longest * rate:
                counts[f"longer than {data.longest:g} seconds, left out"] += 1
            elif steps_needed(ids[place]) > steps_of(config, rate, len(samples)):
                counts[_TOO_SHORT] += 1
            else:
                counts["silent"] += not samples.any()
                kept.append(place)
                lengths.append(len(samples))
                yield (samples.clip(-1, 1) * SCALE).round(), np.array([len(samples)])

    rows = Rows(parts(), dtype=np.int16)
    if not kept:
        raise InputError(f"No recording is left to train on: {_counted(counts)}.")
    augment, train, speakers = config.augment, config.train, [row["speaker"] for row in records]
    spelled = config.tokenizer.kind in ("character", "byte")
    between = ids_of(assets, ["x x"])[0][1:-1].tolist() if spelled else []
    notes = [f"{what}: {count:,}" for what, count in counts.items() if count]
    changes = Changes(augment.speed, augment.gain, augment.noise, data.pauses)
    return Utterances(
        rows,
        [ids[place] for place in kept],
        between,
        [speakers[place] for place in kept],
        rate,
        train.batch_size,
        seed,
        data.strings,
        changes,
        notes=[f"{sum(lengths) / rate / 60:,.1f} minutes", *notes],
    )


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{count:,} {what}" for what, count in counts.items() if count)


def _to_predict(config: Config, assets: Assets, records: Records) -> EpochSource:
    import numpy as np

    from nlp_rnn.audio.sounds import pieces_of
    from nlp_rnn.data.batching import Batches, Rows
    from nlp_rnn.data.utterances import padded_ids
    from nlp_rnn.data.windows import OfWindows

    rate = assets.facts["rate"]
    record_of, offsets, lengths, counts = [], [], [], Counter[str]()

    def parts() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for place, record in enumerate(records):
            samples, own = samples_of(record, rate)
            counts["silent"] += not samples.any()
            counts[f"of fewer than {rate:,} samples a second"] += own < rate
            pieces = pieces_of(samples, round(config.data.longest * rate), round(_QUIET * rate))
            counts["cut at pauses, since they are long"] += len(pieces) > 1
            for first, end in pieces:
                record_of.append(place)
                offsets.append(first)
                lengths.append(end - first)
                yield samples[first:end], np.array([end - first])

    rows = Rows(parts(), dtype=np.float32)
    texts = [row.get("text") or "" for row in records]
    targets = padded_ids(ids_of(assets, texts)) if any(texts) else np.zeros((len(records), 1), np.int32)
    counts["with words or letters that training lacks"] += int((targets == _UNKNOWN).any(1).sum())
    features: dict[str, Any] = {"samples": rows, "starts": OfWindows(np.array(offsets, np.int64), 1)}
    notes = [f"{what}: {count:,}" for what, count in counts.items() if count]
    return Batches(
        features,
        targets[record_of],
        max(config.train.batch_size, 16),
        None,
        None,
        config.train.buckets,
        record_of=np.array(record_of),
        notes=notes,
    )
