"""A run or an export that is loaded, and answers requests."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from nlp_rnn.errors import InputError
from nlp_rnn.export import DESCRIPTION, EXTRA
from nlp_rnn.serving.inputs import Limits, RequestError, arrays_of

if TYPE_CHECKING:
    from nlp_rnn.run import AnyRun
    from nlp_rnn.tasks.speech.commands import Listener

DEFAULT = "serving_default"


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
        self.run: AnyRun | None = None
        self._listener: Listener | None = None
        self._lock = Lock()

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
            except ImportError as error:
                how = "install it with pip" if isinstance(error, ModuleNotFoundError) else error
                raise InputError(f"{folder} needs {library}: {how}.") from None
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
        endpoint = cls(name, functions, {**about_of(run), "signatures": described}, limits)
        endpoint.run = run
        return endpoint

    def listener(self) -> Listener:
        """What hears a stream of sound, at its beginning.

        Raises:
            RequestError: it is an export, or a run that cannot listen.
        """
        from nlp_rnn.tasks.speech.commands import Listener

        if self.run is None:
            raise RequestError(f"{self.name} is an export: streams are heard by runs; serve the run directory.")
        with self._lock:
            if self._listener is None:
                try:
                    self._listener = Listener(self.run)
                except InputError as error:
                    raise RequestError(str(error)) from None
            return self._listener.anew()

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
        return arrays_of(given, wanted, self.limits)

    def compute(
        self, given: Mapping[str, np.ndarray], signature: str = DEFAULT, stop: Stop | None = None
    ) -> dict[str, np.ndarray]:
        """What a signature gives for arrays that `check` let pass.

        Args:
            given: by name.
            signature: its name.
            stop: ends it before it is done.

        Raises:
            RequestError: they make no sense to it.
        """
        import tensorflow as tf

        wanted = self.signatures[signature]["inputs"]
        # As lists, texts are converted at once.
        plain = {n: array.tolist() if array.dtype == object else array for n, array in given.items()}
        tensors = {n: tf.constant(v, wanted[n]["dtype"], shape=given[n].shape) for n, v in plain.items()}
        try:
            with nullcontext() if stop is None else stop.heeded():
                found = self.functions[signature](**tensors)
            arrays = {name: value.numpy() for name, value in found.items()}
        except (tf.errors.InvalidArgumentError, tf.errors.ResourceExhaustedError) as error:
            raise RequestError(f"{signature} cannot compute this: {_reason(str(error))}.") from None
        if wrong := [name for name, value in arrays.items() if value.dtype.kind == "f" and np.isnan(value).any()]:
            raise RequestError(
                f'{signature} finds no number for "{wrong[0]}": the input is too far from what it knows.'
            )
        return arrays

    def takes_only_texts(self, signature: str) -> bool:
        """Whether a row is a text and nothing else, which depends on no other: so that several can be put together."""
        about = self.signatures[signature]
        are_texts = [one["dtype"] == "string" and len(one["shape"]) == 1 for one in about["inputs"].values()]
        return are_texts == [True] and about.get("independent", True)


class Stop:
    """Ends what is computed, from another thread."""

    def __init__(self) -> None:
        from tensorflow.python.eager.cancellation import CancellationManager

        self._manager = CancellationManager()

    def __call__(self) -> None:
        """What heeds it ends with `tf.errors.CancelledError`."""
        self._manager.start_cancel()

    def heeded(self) -> AbstractContextManager[object]:
        """Within it, what is computed can be ended."""
        from tensorflow.python.eager.cancellation import CancellationManagerContext

        return CancellationManagerContext(self._manager)


def _reason(error: str) -> str:
    """Why TensorFlow cannot compute something, in words for a client."""
    if outside := re.search(r"= (-?\d+) is not in \[0, (\d+)\)", error):
        return f"there is no id {outside[1]}, ids go from 0 to {int(outside[2]) - 1}"
    if refused := re.search(r"assertion failed: \[([^\]]+)\]", error):
        return refused[1]
    if "DecodeWav" in error:
        return "it holds what is no wav of 16 bits (convert it, or send samples)"
    return "its sizes do not fit each other"


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
