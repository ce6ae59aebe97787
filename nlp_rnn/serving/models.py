"""What is served under a name: a run, an export, or the newest of several versions; loaded, watched, exchanged."""

from __future__ import annotations

import asyncio
import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from nlp_rnn.errors import InputError
from nlp_rnn.export import DESCRIPTION, EXTRA
from nlp_rnn.serving.batching import Batcher, Batching
from nlp_rnn.serving.endpoints import Endpoint
from nlp_rnn.serving.inputs import Limits, RequestError

Stamp: TypeAlias = tuple[str, int, int]
_LOG = logging.getLogger("kserve")


@dataclass(frozen=True)
class Place:
    """Where a model comes from.

    Args:
        name: in URLs.
        path: a run directory, an export, or a folder of exports named by their versions, as TensorFlow Serving has it.
    """

    name: str
    path: Path

    @classmethod
    def parse(cls, value: str) -> Place:
        """A folder, or NAME=FOLDER. Without a name, it has that of the folder, or for a version, of the one above.

        >>> Place.parse("models/imdb/1").name, Place.parse("reviews=runs/imdb").name
        ('imdb', 'reviews')
        """
        name, equals, folder = value.rpartition("=")
        if equals and not re.fullmatch(r"[\w.-]+", name):
            raise InputError(f'"{name}" is no name for a model: letters, digits, ".", "-" and "_" make one.')
        path = Path(folder)
        whole = path.resolve()
        return cls(name if equals else whole.parent.name if whole.name.isdigit() else whole.name, path)

    def newest(self) -> Path:
        """The folder itself, or that of the highest version in it."""
        versions = [int(one.name) for one in self.path.glob("[0-9]*") if one.name.isdigit() and _mark(one).is_file()]
        return self.path / str(max(versions)) if versions and not _mark(self.path).is_file() else self.path

    @property
    def version(self) -> str:
        """The number of the version; 1 where there is none."""
        name = self.newest().resolve().name
        return name if name.isdigit() else "1"

    def stamp(self) -> Stamp | None:
        """What is different once another model stands there; None while there is none."""
        folder = self.newest()
        try:
            about = _mark(folder).stat()
        except OSError:
            return None
        return str(folder), about.st_ino, about.st_mtime_ns

    def load(self, limits: Limits) -> Endpoint:
        """Loads it and answers its examples.

        Raises:
            InputError: it is no run and no export.
        """
        folder = self.newest()
        if (folder / "config.yaml").is_file():
            from nlp_rnn.run import load

            endpoint = Endpoint.of_run(self.name, load(folder), limits)
        else:
            endpoint = Endpoint.of_export(self.name, folder, limits)
        endpoint.warm_up()
        return endpoint


def _mark(folder: Path) -> Path:
    """The file that is written last."""
    run = folder / "config.yaml"
    return folder / "report.json" if run.is_file() else folder / EXTRA / DESCRIPTION


class Model(Batcher):
    """A model that is served, and exchanged when another stands in its place.

    Args:
        place: where it comes from.
        limits: of requests.
        batching: of requests.
    """

    def __init__(self, place: Place, limits: Limits, batching: Batching) -> None:
        self.place, self.limits = place, limits
        self.stamp: Stamp | None = place.stamp()
        self.version = place.version
        super().__init__(place.load(limits), batching)

    def check_version(self, version: str) -> None:
        """Only the newest is served.

        Raises:
            RequestError: another is asked for.
        """
        if version not in ("", self.version):
            raise RequestError(f"{self.place.name} is served in version {self.version}, not {version}.", 404)

    async def refresh(self) -> bool:
        """Loads what stands there now, if it is another; requests go on with the one before until it is ready.

        One that cannot be loaded is said and left; whether there was another.
        """
        stamp = self.place.stamp()
        if stamp is None and self.stamp is not None:
            _LOG.warning("%s is gone from %s; it is served as it was loaded", self.place.name, self.place.path)
            self.stamp = None
        if stamp is None or stamp == self.stamp:
            return False
        self.stamp = stamp
        try:
            endpoint = await asyncio.to_thread(self.place.load, self.limits)
        except Exception as error:  # of whatever kind: what is served goes on, and so does the watch
            _LOG.error("%s cannot be exchanged: %s", self.place.name, error)
            return False
        self.endpoint, self.version = endpoint, self.place.version
        _LOG.info("%s is now %s, version %s", self.place.name, self.place.newest(), self.version)
        return True


async def watch(models: list[Model], seconds: float) -> None:
    """Looks for other models every so many seconds, for ever."""
    while True:
        await asyncio.sleep(seconds)
        for model in models:
            await model.refresh()
