"""What stands between raw input and tensors, saved with a run: tokenizers, labels, scalers, by name.

An asset is any object that can save itself; `register_asset` says how its kind is loaded again.
"""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from nlp_rnn.errors import InputError

if TYPE_CHECKING:
    import numpy as np

INDEX = "assets.json"


class Asset(Protocol):
    """Something that a run saves. Beside this it may have `tables`, the lookup tables that a SavedModel must keep
    alive, and `libraries`, the packages that a SavedModel with its operations needs."""

    asset_kind: ClassVar[str]

    def save(self, path: Path) -> None:
        """Writes it to `path`, a folder that does not exist yet, or to one file of that name and a suffix."""


_KINDS = {
    "tokenizer": "nlp_rnn.text.tokenizers:load_tokenizer",
    "labels": "nlp_rnn.assets:Labels.load",
    "facts": "nlp_rnn.assets:Facts.load",
    "covariates": "nlp_rnn.tasks.forecasting.covariates:Covariates.load",
    "event baselines": "nlp_rnn.tasks.anomaly.baselines:Simple.load",
    "linear baseline": "nlp_rnn.tasks.forecasting.baselines:Linear.load",
}


def register_asset(kind: str, loader: str) -> None:
    """Says how assets of a kind are loaded.

    Args:
        kind: the `asset_kind` of its class.
        loader: "module:function", or "module:Class.function"; it takes the path that `save` got.
    """
    _KINDS[kind] = loader


class Labels(tuple[str, ...]):
    """The names of the classes, in the order of a model's outputs.

    Example:

    >>> Labels(["negative", "positive"]).index("positive")
    1
    """

    asset_kind: ClassVar[str] = "labels"

    def save(self, path: Path) -> None:
        """Writes a JSON list."""
        _write_json(path.with_suffix(".json"), list(self))

    @classmethod
    def load(cls, path: Path) -> Labels:
        """Reads it back."""
        names = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        are_names = isinstance(names, list) and all(isinstance(name, str) for name in names)
        if not are_names or len({*names}) != len(names):
            raise ValueError("labels must be a list of different names")
        return cls(names)


class Facts(dict[str, Any]):
    """Plain values that a task must remember."""

    asset_kind: ClassVar[str] = "facts"
    clients_need: ClassVar[bool] = True

    def save(self, path: Path) -> None:
        """Writes a JSON object."""
        _write_json(path.with_suffix(".json"), dict(self))

    @classmethod
    def load(cls, path: Path) -> Facts:
        """Reads it back."""
        return cls(json.loads(path.with_suffix(".json").read_text(encoding="utf-8")))


class Assets(Mapping[str, Any]):
    """The assets of a run by name; each is an attribute too: `assets["tokenizer"]` is `assets.tokenizer`.

    Args:
        named: the assets.
        notes: what is worth saying about how they came about.
        initial: arrays that the model begins with, such as pre-trained vectors; they are not saved.

    Example:

    >>> assets = Assets({"labels": Labels(["negative", "positive"])})
    >>> assets.labels, "tokenizer" in assets
    (('negative', 'positive'), False)
    """

    def __init__(
        self,
        named: Mapping[str, Asset],
        notes: Sequence[str] = (),
        initial: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        self._named, self.notes, self.initial = dict(named), tuple(notes), dict(initial or {})

    def __getitem__(self, name: str) -> Any:
        return self._named[name]

    def __getattr__(self, name: str) -> Any:
        named = self.__dict__.get("_named", {})
        if name not in named:
            raise AttributeError(f"There is no asset {name!r}. Available: {', '.join(named)}.")
        return named[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._named)

    def __len__(self) -> int:
        return len(self._named)

    def __repr__(self) -> str:
        return f"Assets({', '.join(self)})"

    def save(self, folder: Path) -> None:
        """Writes all assets, and `assets.json`, which says of what kind each is."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, asset in self.items():
            asset.save(folder / name)
        _write_json(folder / INDEX, {name: asset.asset_kind for name, asset in self.items()})

    @staticmethod
    def fingerprint(folder: Path) -> str:
        """A digest of what `save` wrote."""
        digest = hashlib.blake2b(digest_size=8)
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
        return digest.hexdigest()

    @classmethod
    def load(cls, folder: Path, *fingerprints: str) -> Assets:
        """Reads what `save` wrote, whose fingerprint must be one of those that are given, if any is.

        Raises:
            InputError: the folder is not complete, has changed, or holds an asset of an unknown kind.
        """
        if fingerprints and folder.is_dir() and cls.fingerprint(folder) not in fingerprints:
            raise InputError(f"{folder} changed since the run was saved: restore it, or copy the run again.")
        try:
            if any(path.exists() and not (path.is_file() or path.is_dir()) for path in folder.rglob("*")):
                raise OSError("a device is no asset")
            kinds = _kinds_in(folder)
            return cls({name: _loader(kind)(folder / name) for name, kind in kinds.items()})
        except InputError:
            raise
        except (OSError, ValueError, TypeError, AttributeError):
            raise InputError(f"{folder} is incomplete; train again, or copy the run again.") from None


def _kinds_in(folder: Path) -> dict[str, str]:
    """The kind of each asset by its name."""
    index = folder / INDEX
    if index.is_file():
        return dict(json.loads(index.read_text(encoding="utf-8")))
    # Version 0.1.0 wrote no index; it always wrote labels.json.
    if not (folder / "labels.json").is_file():
        raise FileNotFoundError(folder / "labels.json")
    kinds = {path.parent.name: "tokenizer" for path in sorted(folder.glob("*/tokenizer.json"))}
    return {**kinds, **{name: name for name in ("labels", "facts") if (folder / f"{name}.json").is_file()}}


def _loader(kind: str) -> Any:
    if kind not in _KINDS:
        raise InputError(f'There is no kind of asset "{kind}"; install or import the package that defines it.')
    module, _, names = _KINDS[kind].partition(":")
    found = importlib.import_module(module)
    for name in names.split("."):
        found = getattr(found, name)
    return found


def _write_json(path: Path, values: object) -> None:
    path.write_text(json.dumps(values, ensure_ascii=False) + "\n", encoding="utf-8")
