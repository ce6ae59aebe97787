"""An export that is loaded and answers requests; concurrent ones are batched by TensorFlow's own engine."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nlp_rnn.data.fields import without_halves
from nlp_rnn.errors import InputError

DEFAULT = "serving_default"
# Texts of similar length wait for each other: by characters of the longest of a request.
_BUCKETS = (64, 256, 1024, 4096)


class RequestError(Exception):
    """A request that cannot be answered.

    Args:
        message: one sentence.
        status: the HTTP status; 4xx where the request is to blame.
    """

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Limits:
    """What a request may ask for.

    Args:
        inputs: rows of a request.
        characters: of a text.
        body: bytes of a request.
        seconds: that it may take.
    """

    inputs: int = 1000
    characters: int = 200_000
    body: int = 20_000_000
    seconds: float = 30.0


@dataclass(frozen=True)
class Batching:
    """How concurrent requests are put together.

    Args:
        size: rows of a batch at most; 1 answers each request by itself.
        milliseconds: that a request waits for others.
        threads: batches that are computed at once.
        waiting: batches that may wait; what comes beyond is turned away with 429.
    """

    size: int = 64
    milliseconds: float = 2.0
    threads: int = 2
    waiting: int = 100


class Endpoint:
    """An export by name.

    Args:
        name: in URLs.
        folder: the SavedModel.
        limits: of requests.
        batching: of concurrent requests.

    Raises:
        InputError: it is no export of this package, or its libraries are missing.
    """

    def __init__(self, name: str, folder: Path, limits: Limits = Limits(), batching: Batching = Batching()) -> None:
        self.name, self.folder, self.limits, self.batching = name, folder, limits, batching
        self.about = _about(folder)
        self._batched: dict[tuple[str, int], Any] = {}
        self._lock = threading.Lock()
        self.signatures: dict[str, Any] = self.about["signatures"]
        for library in self.about["libraries"]:
            try:
                __import__(library)
            except ImportError:
                raise InputError(f"{folder} needs {library}: install it with pip.") from None
        import tensorflow as tf

        try:
            self._loaded = tf.saved_model.load(str(folder))
        except Exception as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise InputError(f"{folder} cannot be loaded ({reason}); export the run again.") from error

    def warm_up(self) -> None:
        """Answers the example of each signature, so that the first request need not wait for it."""
        for name, signature in self.signatures.items():
            if "example" in signature:
                self.answer(signature["example"]["inputs"], name)

    def answer(self, inputs: Mapping[str, Any], signature: str = DEFAULT) -> dict[str, np.ndarray]:
        """What a signature gives.

        Args:
            inputs: by name, lists or arrays; those with defaults may be missing.
            signature: its name.

        Raises:
            RequestError: it is not what the signature takes, is too much, or comes when too many wait.
        """
        import tensorflow as tf

        if signature not in self.signatures:
            raise RequestError(f'{self.name} has no signature "{signature}"; it has: {", ".join(self.signatures)}.')
        wanted = self.signatures[signature]["inputs"]
        given = {**{n: w["default"] for n, w in wanted.items() if "default" in w}, **inputs}
        if unknown := [name for name in given if name not in wanted]:
            raise RequestError(f'{signature} takes no "{unknown[0]}"; it takes: {", ".join(wanted)}.')
        if missing := [name for name in wanted if name not in given]:
            raise RequestError(f'{signature} needs "{missing[0]}"; it takes: {", ".join(wanted)}.')
        tensors = {name: self._tensor(name, given[name], about) for name, about in wanted.items()}
        try:
            return {name: value.numpy() for name, value in self._function(signature, tensors)(tensors).items()}
        except tf.errors.UnavailableError:
            raise RequestError("Too many requests wait; try again later.", 429) from None
        except (tf.errors.InvalidArgumentError, tf.errors.ResourceExhaustedError) as error:
            reason = str(error).strip().splitlines()[0][:200]
            raise RequestError(f"{signature} cannot compute this: {reason}") from None

    def _tensor(self, name: str, value: Any, about: Mapping[str, Any]) -> Any:
        """A value as the tensor that a signature takes."""
        import tensorflow as tf

        dtype, shape, value = about["dtype"], about["shape"], without_halves(value)
        texts = _texts_in(value) if dtype == "string" else None
        if dtype == "string" and texts is None:
            raise RequestError(f'"{name}" must hold texts.')
        try:
            array = np.array(value, object if dtype == "string" else dtype)
            rows = array.shape[0] if array.ndim else 1
            if len(shape) and rows > self.limits.inputs:
                raise RequestError(f"{rows:,} inputs are more than {self.limits.inputs:,}: send fewer at once.", 413)
            longest = max(map(len, texts or ()), default=0)
            if longest > self.limits.characters:
                raise RequestError(f"A text of {longest:,} characters is longer than {self.limits.characters:,}.", 413)
            if array.size == 0:
                array = array.reshape([0 if size is None else size for size in shape])
            fits = array.ndim == len(shape) and all(w in (None, s) for w, s in zip(shape, array.shape, strict=True))
            if not fits:
                raise ValueError
            return tf.constant(array.tolist() if dtype == "string" else array, dtype, shape=array.shape)
        except (ValueError, TypeError, OverflowError, UnicodeEncodeError):
            lists = "lists of " * (len(shape) - 1) + "texts" if dtype == "string" else f"{dtype} of the shape {shape}"
            raise RequestError(f'"{name}" must hold {lists}.') from None

    def _function(self, signature: str, tensors: Mapping[str, Any]) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
        """A signature, batched where all it takes is texts."""
        plain = self._loaded.signatures[signature]
        wanted = self.signatures[signature]["inputs"]
        are_texts = [about["dtype"] == "string" and len(about["shape"]) == 1 for about in wanted.values()]
        if self.batching.size <= 1 or are_texts != [True]:
            return lambda given: plain(**given)
        (name,) = wanted
        texts = tensors[name]
        longest = max(map(len, texts.numpy().tolist()), default=0)
        if not 0 < len(texts) <= self.batching.size:
            return lambda given: plain(**given)
        bucket = sum(longest > bound for bound in _BUCKETS)
        with self._lock:
            if (signature, bucket) not in self._batched:
                self._batched[signature, bucket] = self._batch(signature, name)
        batched, outputs = self._batched[signature, bucket]
        return lambda given: dict(zip(outputs, batched(given[name]), strict=True))

    def _batch(self, signature: str, name: str) -> tuple[Any, list[str]]:
        import tensorflow as tf

        plain, outputs = self._loaded.signatures[signature], sorted(self.signatures[signature]["outputs"])
        how = self.batching

        @tf.nondifferentiable_batch_function(
            how.threads, how.size, int(1000 * how.milliseconds), max_enqueued_batches=how.waiting, autograph=False
        )
        def batched(texts: Any) -> list[Any]:
            found = plain(**{name: texts})
            return [found[output] for output in outputs]

        return batched, outputs


def _about(folder: Path) -> dict[str, Any]:
    path = folder / "assets.extra" / "signature.json"
    if not (folder / "saved_model.pb").is_file():
        reason = "holds no run and no export" if folder.is_dir() else "does not exist"
        raise InputError(f"{folder} {reason}; give the directory that `train` or `export` wrote.")
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        form = about["format"]
    except (OSError, ValueError, TypeError, KeyError):
        raise InputError(f"{folder} does not describe its signatures: export the run again.") from None
    if form != 1:
        raise InputError(f"{folder} was written by a newer version of nlp-rnn; upgrade with `pip install -U nlp-rnn`.")
    return about


def _texts_in(value: Any) -> list[Any] | None:
    """All texts in nested lists; None if something else is in them."""
    if isinstance(value, (str, bytes)):
        return [value]
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if not isinstance(value, (list, tuple)):
        return None
    found: list[Any] = []
    for item in value:
        inner = _texts_in(item)
        if inner is None:
            return None
        found += inner
    return found
