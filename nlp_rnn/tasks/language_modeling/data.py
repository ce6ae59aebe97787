"""Sources → records of lines → tokenizer → lanes of windows, or rows of lines by themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nlp_rnn.assets import Assets, Facts
from nlp_rnn.config.sections import split_seed
from nlp_rnn.config.values import refuse_settings
from nlp_rnn.errors import InputError
from nlp_rnn.tasks.base import refuse_other_models
from nlp_rnn.tasks.language_modeling.settings import Config

if TYPE_CHECKING:
    import numpy as np

    from nlp_rnn.data.batching import EpochSource
    from nlp_rnn.data.records import Record, Records
    from nlp_rnn.run import AnyRun

RESOURCES = "nlp_rnn.tasks.language_modeling"
_LONGEST_ROW = 10_000  # steps; a longer text is read in windows


def read(config: Config, split: str) -> Records | None:
    """Records `{"text", "line"}`; those to train or evaluate on follow each other ("follows"), and a line that was
    too long "continues" in the next record."""
    from nlp_rnn.data.fields import Fields
    from nlp_rnn.data.records import Records
    from nlp_rnn.data.splits import is_starter, read_split

    data = config.data
    if is_starter(data, split):
        from nlp_rnn.tasks.language_modeling.starter import split_documents

        lines = [{"text": line, "continues": False, "follows": True} for line in split_documents(split)]
        return Records(_in_order_of_reading(config, lines))
    records = read_split(data, split, Fields({"text": data.text}, ("text",), running="text"), split_seed(config))
    if records is None or split == "predict":
        return records
    columns = records.columns("text", "continues")
    lines = [{"text": text or "", "continues": bool(goes_on), "follows": True} for text, goes_on in columns]
    return Records(_in_order_of_reading(config, lines), records.dropped, records.notes)


def _in_order_of_reading(config: Config, lines: list[Record]) -> list[Record]:
    """Lines that follow each other, the last one first where the text is read backwards."""
    if not config.data.backward:
        return lines
    before = [False, *(line["continues"] for line in lines[:-1])]  # whether what is read next belongs to the same line
    return [{**line, "continues": goes_on} for line, goes_on in zip(lines, before, strict=True)][::-1]


def refuse_others(run: AnyRun, verb: str) -> None:
    """What a language model that reads forwards alone can do must get the run of one.

    Raises:
        InputError: it does not.
    """
    refuse_others_than_language(run, verb)
    refuse_backward(run.config, verb)


def refuse_others_than_language(run: AnyRun, verb: str) -> None:
    """What a language model alone can do must get the run of one.

    Raises:
        InputError: it does not.
    """
    refuse_other_models(run, hasattr(run.model, "carried"), verb, "a language model")


def refuse_backward(config: Config, verb: str) -> None:
    """What needs to read from begin to end must not get a model that reads backwards.

    Raises:
        InputError: it does.
    """
    if config.data.backward:
        raise InputError(
            f"This model reads backwards (data.backward), and {verb} needs one that reads forwards. It measures texts, "
            f"and other models begin with it (--train.init_backward) or read its states (--embedding.states_backward)."
        )


def assets(config: Config, records: Records) -> Assets:
    """Learns the tokenizer."""
    from nlp_rnn.text.tokenizer import SPECIAL, line_begin
    from nlp_rnn.text.tokenizers import train_tokenizer

    refuse_settings(config.train, "train", "language modelling", "class_weights", "label_smoothing")
    if config.stack.bidirectional:
        raise InputError("A language model reads in one direction: give --stack.bidirectional False.")
    search = config.search
    if search.cache and bool(search.cache_weight) != bool(search.cache_sharpness):
        raise InputError(
            "Give both --search.cache_weight and --search.cache_sharpness, or neither, to have them fitted."
        )
    if not search.dynamic and (search.dynamic_rate or search.dynamic_decay):
        raise InputError("--search.dynamic_rate and --search.dynamic_decay do nothing without --search.dynamic.")
    if search.dynamic_decay and not search.dynamic_rate:
        raise InputError("--search.dynamic_decay needs --search.dynamic_rate; without both they are fitted.")
    if "," in config.train.devices:
        raise InputError("A language model carries its state on one device: give --train.devices one number, or none.")
    ending = "\n" if config.newline else ""
    lines = records.columns("text", "continues")
    tokenizer = train_tokenizer(config.tokenizer, (text + ("" if goes_on else ending) for text, goes_on in lines))
    if tokenizer.size <= SPECIAL + 1:
        raise InputError(
            f"The vocabulary has {tokenizer.size - SPECIAL} tokens: there is nothing to predict; give more text."
        )
    _check_head(config, tokenizer.size)
    return Assets({"tokenizer": tokenizer, "facts": Facts(begin=line_begin(tokenizer, config.newline))})


def begin_of(assets: Assets) -> int:
    """The id that stands before a text that is read by itself; runs of earlier versions began with the end token."""
    from nlp_rnn.text.tokenizer import END

    return int(assets.get("facts", {}).get("begin", END))


def _check_head(config: Config, vocabulary: int) -> None:
    """An adaptive softmax needs clusters within the vocabulary."""
    from nlp_rnn.text.tokenizer import SPECIAL

    head = config.head
    if head.kind != "adaptive":
        return
    if not (head.cutoffs and sorted({*head.cutoffs}) == [*head.cutoffs]):
        raise InputError(f"head.cutoffs must increase, such as 2000 10000; they are {head.cutoffs}.")
    if not SPECIAL < head.cutoffs[0] <= head.cutoffs[-1] < vocabulary:
        raise InputError(
            f"head.cutoffs must lie within the vocabulary of {vocabulary:,} tokens: give others, or use "
            f"--head.kind full."
        )
    if config.train.jit == "on":
        raise InputError("XLA cannot compile an adaptive softmax: leave --train.jit out.")


def batches(config: Config, assets: Assets, records: Records, seed: int | None) -> EpochSource:
    """Lanes of windows for training; one lane for texts that follow each other; rows for texts by themselves."""
    import numpy as np

    from nlp_rnn.data.batching import Batches, Rows
    from nlp_rnn.data.lanes import Lanes
    from nlp_rnn.text.tokenizer import END

    ids, lengths = encoded(config, assets, records)
    train = config.train
    follows = bool(len(records)) and records[0].get("follows", False)
    apart = not (follows and config.data.carry)
    if seed is None and (not apart or lengths.max(initial=0) > _LONGEST_ROW):
        return Lanes(ids, 1, 2000, lengths=lengths, measures=True, begin=begin_of(assets), apart=apart)
    if seed is None:
        starts = np.cumsum(lengths) - lengths
        before = np.concatenate([[END], ids[:-1]])
        before[starts] = begin_of(assets)
        rows = {"tokens": Rows([(before, lengths)]), "targets": Rows([(ids, lengths)])}
        return Batches(rows, np.zeros(len(lengths), np.int32), 64, record_of=np.arange(len(lengths)), buckets=16)
    if len(ids) < train.batch_size * 2:
        raise InputError(
            f"The text has {len(ids):,} tokens, too few for {train.batch_size} lanes of at least 2: give more text, or "
            f"fewer lanes with --train.batch_size."
        )
    varies = train.vary_bptt and train.jit != "on"
    return Lanes(ids, train.batch_size, train.bptt, seed if varies else None, lengths, begin=begin_of(assets))


def _backward(counts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Places of the tokens of lines behind each other, each line from its last token to its first; the end of a line
    stays behind it.

    Args:
        counts: tokens of each line, its end among them.
        ends: whether each line has one.
    """
    import numpy as np

    starts = np.repeat(np.cumsum(counts) - counts, counts)
    places = np.arange(len(starts))
    last = np.repeat(counts - ends, counts)  # tokens before the end
    within = places - starts
    return np.where(within < last, starts + last - 1 - within, places)


def encoded(config: Config, assets: Assets, records: Records) -> tuple[np.ndarray, np.ndarray]:
    """The ids of all texts behind each other, each with its line end, int32 `[tokens]`, and how many each text has,
    `[records]`."""
    import numpy as np

    from nlp_rnn.data.tokenizing import encode
    from nlp_rnn.text.tokenizer import CHARACTERS, END, in_chunks

    newline = config.newline
    values, lengths = [np.zeros(0, np.int32)], [np.zeros(0, np.int64)]
    for chunk in in_chunks(records.columns("text", "continues"), 5000, lambda line: len(line[0] or ""), CHARACTERS):
        texts = [text or "" for text, _ in chunk]
        ends = np.array([not goes_on for _, goes_on in chunk])
        lines = [t + "\n" if newline and end else t for t, end in zip(texts, ends, strict=True)]
        ids, counts = encode(assets.tokenizer, lines)
        kept = np.ones(len(ids), bool)
        if not newline:  # an empty line is its end alone, not an unknown word
            ids = np.insert(ids, np.cumsum(counts), END)
            kept = np.ones(len(ids), bool)
            starts = np.cumsum(counts + 1) - (counts + 1)
            empty = np.array([not text.strip() for text in texts])
            kept[starts[empty]], kept[(starts + counts)[~ends]] = False, False
            counts = counts + ends - empty
        ids = ids[kept]
        values.append(ids[_backward(counts, ends)] if config.data.backward else ids)
        lengths.append(counts)
    return np.concatenate(values), np.concatenate(lengths)
