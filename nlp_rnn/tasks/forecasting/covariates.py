"""Columns beside the values → numbers, as training has seen them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from nlp_rnn.errors import InputError

if TYPE_CHECKING:
    from nlp_rnn.data.series import Columns, Series

_MOST_CATEGORIES = 100


class Covariates(dict[str, Any]):
    """Which covariates there are, the categories of those that are texts, and the scale of the numbers.

    It holds "future", "past" and "static", the names of columns; "categories" by column; and "scales", mean and spread
    of each number, by "known" and "past".
    """

    asset_kind: ClassVar[str] = "covariates"
    clients_need: ClassVar[bool] = True

    @classmethod
    def of(cls, series: Sequence[Series], columns: Columns) -> Covariates:
        """Those of the training series.

        Raises:
            InputError: a column has too many categories to be one.
        """
        categories = {}
        for name in columns.covariates:
            values = np.concatenate([np.atleast_1d(one.covariates[name]) for one in series])
            if values.dtype == object or values.dtype.kind in "US":
                found = sorted({str(value) for value in values})
                if len(found) > _MOST_CATEGORIES:
                    raise InputError(f'"{name}" has {len(found):,} different texts: leave it out, or group them.')
                categories[name] = found
        names = {"future": list(columns.future), "past": list(columns.past), "static": list(columns.static)}
        made = cls({**names, "categories": categories, "scales": {}})
        for part in ("known", "past"):
            values = np.concatenate([made.numbers(one, part)[: len(one)] for one in series])
            spread = values.std(0) if len(values) else np.ones(values.shape[1])
            made["scales"][part] = [values.mean(0).tolist(), np.where(spread > 0, spread, 1.0).tolist()]
        return made

    @property
    def sizes(self) -> tuple[int, int]:
        """How many numbers are known of each step, also of those to come, and of those of the past alone."""
        known, past = (sum(map(self._size, names)) for names in (self._known, self["past"]))
        return known, past

    @property
    def _known(self) -> list[str]:
        return [*self["future"], *self["static"]]

    def _size(self, name: str) -> int:
        return len(self["categories"].get(name, [0]))

    def numbers(self, series: Series, part: str) -> np.ndarray:
        """What is "known" of each step of a series and of those to come, `[steps + ahead, known]`, or of the "past"
        alone, `[steps, past]`; a category is 1 where it holds, and those that training has not seen are 0.

        Raises:
            InputError: the series lacks one.
        """
        names = self._known if part == "known" else self["past"]
        if missing := [name for name in names if name not in series.covariates]:
            raise InputError(f'This run was trained with "{missing[0]}": give it with the series.')
        for name in names:
            value = series.covariates[name]
            is_list = hasattr(value, "__len__") and not isinstance(value, str)
            if name in self["static"] and is_list and len(value) != 1:
                raise InputError(f'"{name}" must be one for the whole series.')
            if name not in self["static"] and not is_list:
                raise InputError(f'"{name}" must be a list, one for each step.')
        lengths = [len(series.covariates[n]) for n in names if n not in self["static"]] or [len(series)]
        columns = [self._columns(series.covariates[name], name, min(lengths)) for name in names]
        return np.concatenate([np.zeros((min(lengths), 0)), *columns], 1)

    def _columns(self, values: Any, name: str, count: int) -> np.ndarray:
        values = np.broadcast_to(values, (count,)) if name in self["static"] else np.asarray(values)[:count]
        if name in self["categories"]:
            return np.stack([values.astype(str) == kind for kind in self["categories"][name]], 1).astype(np.float64)
        try:
            return values.astype(np.float64)[:, None]
        except ValueError:
            raise InputError(f'"{name}" held numbers in training; now it holds texts.') from None

    def unseen(self, series: Iterable[Series]) -> list[str]:
        """Says which texts training has not seen."""
        found = {
            (name, str(value))
            for one in series
            for name, known in self["categories"].items()
            for value in np.unique(np.atleast_1d(one.covariates.get(name, [])).astype(str))
            if str(value) not in known
        }
        return [f'"{value}" of {name} was not seen in training' for name, value in sorted(found)[:5]]

    def save(self, path: Path) -> None:
        """Writes a JSON object."""
        path.with_suffix(".json").write_text(json.dumps(dict(self), ensure_ascii=False) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Covariates:
        """Reads it back."""
        return cls(json.loads(path.with_suffix(".json").read_text(encoding="utf-8")))
