"""What clients send → the arrays that a signature takes, without loss; what makes no sense is refused in a sentence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from nlp_rnn.data.fields import without_halves


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


def arrays_of(given: Mapping[str, object], wanted: Mapping[str, Any], limits: Limits) -> dict[str, np.ndarray]:
    """Inputs as arrays.

    Args:
        given: by name, lists or arrays.
        wanted: of each, what `signature.json` says.
        limits: of requests.

    Raises:
        RequestError: they are not what is wanted, do not fit each other, or are too much.
    """
    found = {name: _array(name, given[name], about, limits) for name, about in wanted.items()}
    rows = {n: len(found[n]) for n, about in wanted.items() if about["shape"][:1] == [None] and "default" not in about}
    if len(set(rows.values())) > 1:
        raise RequestError(f"The inputs have different numbers of rows: {_listed(rows)}.")
    for name, about in wanted.items():
        if counted := about.get("counts"):
            _check_counts(name, found[name], counted, found[counted].shape[1])
        if (ahead := about.get("ahead")) and found[name].shape[1] != found[ahead["of"]].shape[1] + ahead["steps"]:
            raise RequestError(
                f'"{name}" has {found[name].shape[1]:,} steps; it must have those of "{ahead["of"]}" and the '
                f"{ahead['steps']:,} to come, {found[ahead['of']].shape[1] + ahead['steps']:,}."
            )
    return found


def _listed(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {number:,}" for name, number in numbers.items())


def _check_counts(name: str, counts: np.ndarray, counted: str, steps: int) -> None:
    if counts.size and (counts.min() < 1 or counts.max() > steps):
        one = int(counts.min() if counts.min() < 1 else counts.max())
        raise RequestError(f'"{name}" has {one}, and a row of "{counted}" has 1 to {steps:,} steps here.')


def _array(name: str, value: object, about: Mapping[str, Any], limits: Limits) -> np.ndarray:
    dtype, shape = about["dtype"], about["shape"]
    if dtype == "string":
        array = _of_texts(name, value, about, limits)
    else:
        array = _of_numbers(_with_nan(value) if about.get("missing") else value, dtype)
    if array is not None and array.shape == (0,) and shape:
        array = array.reshape([0 if size is None else size for size in shape])
    _check_shape(name, array, value, about, limits)
    assert array is not None
    _check_values(name, array, about)
    return array


def _of_texts(name: str, value: object, about: Mapping[str, Any], limits: Limits) -> np.ndarray | None:
    is_binary = about.get("binary", False)
    value = without_halves(value) if is_binary else _decoded(without_halves(value))
    texts = _texts_in(value)
    if texts is None:
        raise RequestError(f'"{name}" must hold {"bytes" if is_binary else "texts"}.')
    if is_binary and not all(isinstance(text, bytes) and text for text in texts):
        raise RequestError(f'"{name}" must hold bytes: {{"b64": "…"}} with them in base 64, or binary data over V2.')
    longest = max(map(len, texts), default=0)
    if not is_binary and longest > limits.characters:
        raise RequestError(f"A text of {longest:,} characters is longer than {limits.characters:,}.", 413)
    try:
        array = np.array(value, object)
    except ValueError:
        return None
    return None if any(isinstance(one, list) for one in array.ravel()) else array


def _decoded(value: object) -> Any:
    """Nested texts, those that are bytes decoded."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, np.ndarray) and value.dtype == object:
        flat = [_decoded(one) for one in value.ravel()]
        return np.array([*flat, None], object)[:-1].reshape(value.shape)
    return [_decoded(one) for one in value] if isinstance(value, list) else value


def _texts_in(value: object) -> list[str | bytes] | None:
    """All texts in nested lists; None if something else is in them."""
    if isinstance(value, (str, bytes)):
        return [value]
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if not isinstance(value, (list, tuple)):
        return None
    found: list[str | bytes] = []
    for item in value:
        inner = _texts_in(item)
        if inner is None:
            return None
        found += inner
    return found


def _with_nan(value: object) -> Any:
    """Nested numbers, with NaN where JSON has null."""
    if isinstance(value, list):
        return [_with_nan(one) for one in value]
    return float("nan") if value is None else value


def _of_numbers(value: object, dtype: str) -> np.ndarray | None:
    """Numbers as an array of a type, without loss; None if they make none."""
    try:
        found = np.asarray(value)
        of_kind = {"i": "iu", "f": "iuf", "b": "b"}[np.dtype(dtype).kind]
        if found.size and found.dtype.kind not in of_kind:
            return None
        with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused as such
            array = found.astype(dtype)
        return array if found.dtype.kind == "f" or np.array_equal(array, found) or not found.size else None
    except (ValueError, TypeError, OverflowError):
        return None


def _has_null(value: object) -> bool:
    return any(map(_has_null, value)) if isinstance(value, list) else value is None


def _check_shape(name: str, array: np.ndarray | None, value: object, about: Mapping[str, Any], limits: Limits) -> None:
    dtype, shape = about["dtype"], about["shape"]
    if array is not None and array.ndim and shape and len(array) > limits.inputs:
        raise RequestError(f"{len(array):,} inputs are more than {limits.inputs:,}: send fewer at once.", 413)
    sizes = () if array is None else array.shape
    fits = len(sizes) == len(shape) and all(w in (None, n) for w, n in zip(shape, sizes, strict=True))
    if array is not None and fits:
        return
    kind = "texts" if dtype == "string" else "whole numbers" if dtype.startswith("int") else "numbers"
    if not shape:
        alone = "" if array is None else ', for all rows together: give it by "inputs", not in "instances"'
        raise RequestError(f'"{name}" must be one of {kind}{alone}.')
    axes = ["rows" if not axis else "any" if size is None else str(size) for axis, size in enumerate(shape)]
    wanted = f"a list of {kind}" if len(shape) == 1 else f"{kind} in lists of the shape [{', '.join(axes)}]"
    given = "" if array is None else f", not {[*sizes]}" if sizes else ", not a single one"
    given = ", and has null" if array is None and dtype != "string" and _has_null(value) else given
    raise RequestError(f'"{name}" must be {wanted}{given}.')


def _check_values(name: str, array: np.ndarray, about: Mapping[str, Any]) -> None:
    if not array.size or array.dtype.kind not in "if":
        return
    if array.dtype.kind == "f":
        if np.isinf(array).any():
            raise RequestError(f'"{name}" has a number that is infinite, or too large.')
        if not about.get("missing") and np.isnan(array).any():
            raise RequestError(f'"{name}" has a value that is no number (NaN).')
    least, most = about.get("minimum"), about.get("maximum")
    if least is None and array.ndim and array.dtype == np.int32:
        if array.min() < 0:
            raise RequestError(f'"{name}" has ids below 0.')
        return
    known = array[~np.isnan(array)] if array.dtype.kind == "f" else array
    if known.size and ((least is not None and known.min() < least) or (most is not None and known.max() > most)):
        raise RequestError(f'"{name}" must be {_between(least, most)}.')


def _between(least: float | None, most: float | None) -> str:
    if most is None:
        return f"{least:g} or more"
    return f"from {least:,} to {most:,}" if least is not None else f"{most:g} or less"
