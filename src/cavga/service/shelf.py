"""The models of a server by name: loaded when they are asked for, the least recently used one put away."""

import asyncio
import logging
import re
import threading
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from cavga.calibration.thresholds import Calibration
from cavga.errors import CavgaError, UsageError
from cavga.inference.detector import AnomalyDetector
from cavga.inference.exported_formats import format_of
from cavga.service.batching import Batcher
from cavga.service.live_drift import ScoreWatch
from cavga.service.meters import Meters
from cavga.service.refusals import RefusedError, unusable

logger = logging.getLogger("cavga")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Served:
    """One model that is loaded: its detector, its queue, and how many requests use it."""

    def __init__(self, name: str, detector: AnomalyDetector, watch: ScoreWatch, meters: Meters) -> None:
        self.name, self.detector, self.watch, self.users = name, detector, watch, 0
        workers = getattr(detector.engine, "concurrent_batches", 1) if detector.tiling.tile is None else 1
        self.batcher = Batcher(
            lambda batch: list(detector.score(batch)),
            workers=workers,
            scored=meters.batch_size.labels(name).observe,
        )
        meters.queue_length.labels(name).set_function(lambda: len(self.batcher))


class Shelf:
    """Models by name, at most so many loaded at once unless all of them are in use."""

    def __init__(self, paths: Mapping[str, Path], *, max_models: int, device: str, meters: Meters) -> None:
        self.paths, self._max, self._device, self.meters = dict(paths), max_models, device, meters
        self._loaded: OrderedDict[str, Served] = OrderedDict()
        self._locks = {name: asyncio.Lock() for name in paths}
        self._changes = dict.fromkeys(paths, 0)  # how often a name became another model
        self._leaving: list[Served] = []  # no longer on the shelf, and still in use
        self._first: str | None = None
        self.watches: dict[str, ScoreWatch] = {}
        meters.loaded.set_function(lambda: len(self._loaded))
        meters.watch_drift(lambda: dict(self.watches))

    @property
    def first(self) -> str:
        """The model of requests that name none: the one that was picked, else the first; raises RefusedError."""
        if self._first in self.paths:
            return self._first
        if not self.paths:
            raise RefusedError(503, "no_model", "there is no model here yet: train one on the page, or name one")
        return next(iter(self.paths))

    def pick(self, name: str) -> None:
        """Answer requests that name no model with this one."""
        self._first = name

    def put(self, name: str, path: Path) -> None:
        """Serve what lies at a path by this name, new or as another model; it is loaded when it is asked for."""
        self.paths[name] = path
        self._locks.setdefault(name, asyncio.Lock())
        self._changes[name] = self._changes.get(name, 0) + 1
        served = self._loaded.pop(name, None)
        if served is not None:
            self._leaving.append(served)
        self._let_go()

    def loaded(self, name: str) -> Served | None:
        """A model if it is in memory."""
        return self._loaded.get(name)

    def load_all(self) -> None:
        """Load every model once, so that one that cannot be is said before anybody asks for it; raises CavgaError."""
        for name in reversed(self.paths):  # the first ones stay
            self._put(self._load(name))
            self._put_away()

    @asynccontextmanager
    async def lease(self, name: str) -> AsyncIterator[Served]:
        """A model, which stays loaded within the block; raises RefusedError for an unknown name."""
        served = await self._get(name)
        served.users += 1
        try:
            yield served
        finally:
            served.users -= 1
            self._let_go()
            self._put_away()

    def close(self) -> None:
        """Score what waits, and end."""
        while self._loaded:
            self._loaded.popitem()[1].batcher.close()

    async def _get(self, name: str) -> Served:
        if name not in self.paths:
            raise unusable(f"unknown model {name!r}: expected one of {', '.join(self.paths)}", "unknown_model", 404)
        if name in self._loaded:
            self._loaded.move_to_end(name)
            return self._loaded[name]
        async with self._locks[name]:
            while name not in self._loaded:
                change = self._changes[name]
                try:
                    served = await asyncio.get_running_loop().run_in_executor(None, partial(self._load, name))
                except CavgaError as error:  # its message names a path, which is nobody's business outside
                    logger.error("model %s cannot be loaded: %s", name, error)
                    raise RefusedError(503, "model_unavailable", f"model {name} cannot be loaded now") from None
                if change == self._changes[name]:
                    self._put(served)
                else:
                    self._close(served)
            return self._loaded[name]

    def _load(self, name: str) -> Served:
        detector = AnomalyDetector.load(self.paths[name], device=self._device)
        calibration = Calibration.from_dict(detector.description["calibration"])
        watch = self.watches.get(name)
        if watch is None or watch.calibration != calibration:
            watch = self.watches[name] = ScoreWatch(calibration)
        return Served(name, detector, watch, self.meters)

    def _put(self, served: Served) -> None:
        self._loaded[served.name] = served

    def _put_away(self) -> None:
        """Forget the models that are too many, the least recently used first, and none that is in use."""
        for name in [name for name, served in self._loaded.items() if not served.users]:
            if len(self._loaded) <= self._max:
                return
            self._close(self._loaded.pop(name))
            logger.info("model %s was put away", name)

    def _let_go(self) -> None:
        """End those that became another model, once nobody uses them."""
        for served in [served for served in self._leaving if not served.users]:
            self._leaving.remove(served)
            self._close(served)

    def _close(self, served: Served) -> None:
        threading.Thread(target=served.batcher.close, daemon=True).start()


def named_models(models: Sequence[str]) -> dict[str, Path]:
    """NAME=PATH, or a path that is called as its folder or file is; raises UsageError."""
    found: dict[str, Path] = {}
    for model in models:
        name, has_name, path = model.partition("=")
        if not has_name:
            path = model
            name = Path(model).absolute().stem if format_of(Path(model)) else Path(model).absolute().name
        if not _NAME.fullmatch(name):
            raise UsageError(f"model name {name!r}: expected letters, digits, dots, - and _; give one: NAME={path}")
        if name in found:
            raise UsageError(f"two models are called {name}: {found[name]} and {path}; give another: NAME={path}")
        found[name] = Path(path)
    return found
