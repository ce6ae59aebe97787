"""A run or an export that is loaded, and answers requests."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nlp_rnn.data.fields import without_halves
from nlp_rnn.errors import InputError
from nlp_rnn.export import DESCRIPTION, EXTRA

if TYPE_CHECKING:
    from nlp_rnn.run import AnyRun

DEFAULT = "serving_default"


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


class Endpoint:
    """A model that answers, by name.

    Args:
        name: in URLs.
        functions: by the name of their signature, which take named tensors and give them by name.
        about: what `signature.json` of an export says.
        limits: of requests.
    """

    def __init__(
        self, name: str, functions: Mapping[str, Any], about: dict[str, Any], limits: Limits = Limits()
    ) -> None:
        self.name, self.functions, self.about, self.limits = name, functions, about, limits
        self.signatures: dict[str, Any] = about["signatures"]
        self.alive: Any = None

    @classmethod
    def of_export(cls, name: str, folder: Path, limits: Limits = Limits()) -> Endpoint:
        """A SavedModel that `export` wrote.

        Raises:
            InputError: it is none, or its libraries are missing.
        """
        about = _about(folder)
        for library in about["libraries"]:
            try:
                __import__(library)
            except ImportError:
                raise InputError(f"{folder} needs {library}: install it with pip.") from None
        import tensorflow as tf

        try:
            loaded = tf.saved_model.load(str(folder))
            found = cls(name, loaded.signatures, about, limits)
        except Exception as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise InputError(f"{folder} cannot be loaded ({reason}); export the run again.") from error
        found.alive = loaded  # a function does not keep the variables of its SavedModel
        return found

    @classmethod
    def of_run(cls, name: str, run: AnyRun, limits: Limits = Limits()) -> Endpoint:
        """A run, with the kernels that are fastest on this machine."""
        from nlp_rnn.export.formats import about_of, described_signatures
        from nlp_rnn.export.signatures import also_of_nothing
        from nlp_rnn.layers.precision import float32_copy

        model = run.model if run.model.compute_dtype == "float32" else float32_copy(run.model)
        found = described_signatures(run.task, run.config, model, run.assets)
        functions = {n: also_of_nothing(one.function).get_concrete_function() for n, one in found.items()}
        described = {n: one.description() for n, one in found.items()}
        return cls(name, functions, {**about_of(run), "signatures": described}, limits)

    def warm_up(self) -> None:
        """Answers the example of each signature, so that the first request need not wait for it."""
        for name, signature in self.signatures.items():
            if "example" in signature:
                self.answer(signature["example"]["inputs"], name)

    def answer(self, inputs: Mapping[str, Any], signature: str = DEFAULT) -> dict[str, np.ndarray]:
        """What a signature gives: `compute` of what `check` lets pass."""
        return self.compute(self.check(inputs, signature), signature)

    def check(self, inputs: Mapping[str, object], signature: str = DEFAULT) -> dict[str, np.ndarray]:
        """Inputs as the arrays that a signature takes.

        Args:
            inputs: by name, lists or arrays; those with defaults may be missing.
            signature: its name.

        Raises:
            RequestError: it is not what the signature takes, or too much.
        """
        if signature not in self.signatures:
            raise RequestError(f'{self.name} has no signature "{signature}"; it has: {", ".join(self.signatures)}.')
        wanted = self.signatures[signature]["inputs"]
        given = {**{n: w["default"] for n, w in wanted.items() if "default" in w}, **inputs}
        if unknown := [name for name in given if name not in wanted]:
            raise RequestError(f'{signature} takes no "{unknown[0]}"; it takes: {", ".join(wanted)}.')
        if missing := [name for name in wanted if name not in given]:
            raise RequestError(f'{signature} needs "{missing[0]}"; it takes: {", ".join(wanted)}.')
        return {name: self._array(name, given[name], about) for name, about in wanted.items()}

    def compute(self, arrays: Mapping[str, np.ndarray], signature: str = DEFAULT) -> dict[str, np.ndarray]:
        """What a signature gives for arrays that `check` let pass.

        Raises:
            RequestError: they make no sense to it.
        """
        import tensorflow as tf

        wanted = self.signatures[signature]["inputs"]
        # As lists, texts are converted at once.
        plain = {n: array.tolist() if array.dtype == object else array for n, array in arrays.items()}
        tensors = {n: tf.constant(v, wanted[n]["dtype"], shape=arrays[n].shape) for n, v in plain.items()}
        try:
            return {name: value.numpy() for name, value in self.functions[signature](**tensors).items()}
        except (tf.errors.InvalidArgumentError, tf.errors.ResourceExhaustedError) as error:
            outside = re.search(r"= (-?\d+) is not in \[0, (\d+)\)", str(error))
            refused = re.search(r"assertion failed: \[([^\]]+)\]", str(error))
            reason = refused[1] if refused else "its sizes do not fit each other"
            if outside:
                reason = f"there is no id {outside[1]}, ids go from 0 to {int(outside[2]) - 1}"
            raise RequestError(f"{signature} cannot compute this: {reason}.") from None

    def takes_only_texts(self, signature: str) -> bool:
        """Whether a row is a text and nothing else, which depends on no other: so that several can be put together."""
        about = self.signatures[signature]
        are_texts = [one["dtype"] == "string" and len(one["shape"]) == 1 for one in about["inputs"].values()]
        return are_texts == [True] and about.get("independent", True)

    def _array(self, name: str, value: Any, about: Mapping[str, Any]) -> np.ndarray:
        dtype, shape, value = about["dtype"], about["shape"], without_halves(value)
        texts = _texts_in(value) if dtype == "string" else None
        if dtype == "string" and texts is None:
            raise RequestError(f'"{name}" must hold texts.')
        longest = max(map(len, texts or ()), default=0)
        if longest > self.limits.characters:
            raise RequestError(f"A text of {longest:,} characters is longer than {self.limits.characters:,}.", 413)
        array = _as_array(value, dtype)
        rows = array.shape[0] if array is not None and array.ndim else 1
        if len(shape) and rows > self.limits.inputs:
            raise RequestError(f"{rows:,} inputs are more than {self.limits.inputs:,}: send fewer at once.", 413)
        if array is not None and array.shape == (0,):
            array = array.reshape([0 if size is None else size for size in shape])
        sizes = () if array is None else array.shape
        fits = len(sizes) == len(shape) and all(w in (None, n) for w, n in zip(shape, sizes, strict=True))
        if array is None or not fits:
            kind = "texts" if dtype == "string" else "whole numbers" if dtype.startswith("int") else "numbers"
            lists = "a list of " * min(len(shape), 1) + "lists of equal length of " * (len(shape) - 1)
            raise RequestError(f'"{name}" must be {lists}{kind}.' if shape else f'"{name}" must be one of {kind}.')
        if array.ndim and array.dtype == np.int32 and array.size and array.min() < 0:
            raise RequestError(f'"{name}" has ids below 0.')
        return array


def _as_array(value: object, dtype: str) -> np.ndarray | None:
    """A value as an array of its type, without loss; None if it is none."""
    try:
        if dtype == "string":
            array = np.array(value, object)
            return None if any(isinstance(one, list) for one in array.ravel()) else array
        found = np.asarray(value)
        of_kind = {"i": "iu", "f": "iuf", "b": "b"}[np.dtype(dtype).kind]
        if found.size and found.dtype.kind not in of_kind:
            return None
        array = found.astype(dtype)
        return array if found.dtype.kind == "f" or np.array_equal(array, found) or not found.size else None
    except (ValueError, TypeError, OverflowError):
        return None


def _about(folder: Path) -> dict[str, Any]:
    path = folder / EXTRA / DESCRIPTION
    if path.is_file() and not (folder / "saved_model.pb").is_file():
        raise InputError(f"{folder} is an export for another runtime; serve the run, or a SavedModel of it.")
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


def _texts_in(value: object) -> list[Any] | None:
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
