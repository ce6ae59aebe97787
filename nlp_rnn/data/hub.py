"""Data sets of the hub → rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any

from nlp_rnn.data.tables import datasets_library, last_line
from nlp_rnn.errors import InputError

_SECONDS = 8
_LOCAL = "To use a file of your own, give its path with --data."


@cache
def hub_places(source: str, splits: tuple[tuple[str, tuple[str, ...]], ...]) -> Mapping[str, Callable[[], Any]]:
    """What a data set offers: split → a function that loads its rows, a `datasets.Dataset`.

    Args:
        source: the data set, "name" or "name:configuration".
        splits: our splits, each with the names that it may have there.

    Raises:
        InputError: there is none of that name, or the hub cannot be reached.
    """
    datasets = datasets_library()
    import huggingface_hub
    from huggingface_hub.errors import RepositoryNotFoundError

    identifier, _, name = source.partition(":")
    try:
        if not huggingface_hub.constants.HF_HUB_OFFLINE:
            huggingface_hub.HfApi().dataset_info(identifier, timeout=_SECONDS)
        there = datasets.get_dataset_split_names(identifier, name or None)
    except RepositoryNotFoundError:
        raise InputError(f'There is no file and no data set of the hub named "{source}". {_LOCAL}') from None
    except Exception as error:
        raise InputError(
            f'"{source}" is not a file, and the data-set hub cannot be reached ({type(error).__name__}). {_LOCAL}'
        ) from None

    def read(split: str) -> Any:
        try:
            return datasets.load_dataset(identifier, name or None, split=split)
        except Exception as error:
            raise InputError(f'The data set "{source}" cannot be loaded: {last_line(error)}. {_LOCAL}') from None

    found = {ours: partial(read, theirs) for theirs in there for ours, names in splits if theirs in names}
    return found or {"train": partial(read, there[0])}
