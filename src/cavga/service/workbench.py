"""What goes on behind the page: projects, the child that trains, and the photographs that are checked and scored."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from cavga.config.presets import make_config
from cavga.data.checked import check
from cavga.errors import CavgaError, MissingExtraError, UsageError
from cavga.progress import Silent
from cavga.projects.inspection import Inspection, version_of
from cavga.projects.jobs import Job, Jobs
from cavga.projects.learning import described, marks_taken_along
from cavga.projects.project import Project, Projects, images_below
from cavga.runs.model_json import CONFIG_FILE
from cavga.service.refusals import overloaded
from cavga.service.scoring import Scorer

logger = logging.getLogger("cavga")

TRAINING, REFIT = "training", "refit"
Result = TypeVar("Result")


@dataclass
class Check(Silent):
    """A look through a project's good photographs: how far it is, then what was found."""

    is_running: bool = True
    is_stopped: bool = False
    num_done: int = 0
    num_all: int = 0
    problem: str = ""
    found: dict[str, Any] = field(default_factory=dict)
    of: tuple[Any, ...] = ()
    """Which photographs it looked at."""

    def begin(self, phase: str, total: int | None = None, unit: str = "", *, done: int = 0) -> None:
        """So many are looked at."""
        self.num_done, self.num_all = done, total or 0

    def advance(self, amount: float = 1.0) -> None:
        """One more is done; raises CavgaError where the rest is not wanted any more."""
        self.num_done += int(amount)
        if self.is_stopped:
            raise CavgaError("stopped: the server ends")


class Workbench:
    """Everything behind the page's routes; its methods are called in the server's event loop."""

    def __init__(self, root: Path, scorer: Scorer) -> None:
        """Raises UsageError where a project is called as a model of the command line."""
        self.projects, self._scorer, self._shelf = Projects(root), scorer, scorer.shelf
        self.jobs = Jobs(str(self.projects.root))
        self.given = tuple(self._shelf.paths)
        for project in self.projects.all():
            self.check_name(project.name)
        """The models of the command line."""
        self._versions: dict[str, str] = {}  # of each project: what the shelf has of it
        self._inspections: dict[str, Inspection] = {}
        self._checks: dict[str, Check] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._again: set[str] = set()
        self._num_waiting = 0
        self._loop: asyncio.AbstractEventLoop | None = None

    def open(self) -> None:
        """Serve the models of all projects."""
        self._loop = asyncio.get_running_loop()
        for project in self.projects.all():
            self.freshen(project)
        picked = None if self.given else self.projects.picked()
        if picked is not None:
            self._shelf.pick(picked.name)

    @property
    def picked(self) -> str | None:
        """The model that answers /predict."""
        return self._shelf.first if self._shelf.paths else None

    async def close(self) -> None:
        """End what is under way, and wait for it."""
        for inspection in self._inspections.values():
            inspection.is_stopped = True
        for found in self._checks.values():
            found.is_stopped = True
        await asyncio.to_thread(self.jobs.close)
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def check_name(self, name: str) -> None:
        """Raise UsageError where a model of the command line is called so."""
        if name in self.given:
            raise UsageError(f"a model of the command line is called {name}: a project has to have another name")

    async def heavy(self, work: Callable[..., Result], *arguments: object, **named: object) -> Result:
        """What takes its time, in a thread; raises RefusedError where too much waits for one."""
        if self._num_waiting >= 4 * self._scorer.settings.queue:
            raise overloaded(f"{self._num_waiting} pictures and listings are waited for")
        self._num_waiting += 1
        try:
            return await self._scorer.in_thread(partial(work, *arguments, **named))
        finally:
            self._num_waiting -= 1

    def freshen(self, project: Project) -> None:
        """Have the shelf serve the version in use, if it is another one than before."""
        version, run = version_of(project), project.run()
        if run is not None and self._versions.get(project.name) != version:
            self._versions[project.name] = version
            self._shelf.put(project.name, run)

    def pick(self, project: Project) -> None:
        """Answer /predict with a project's model, also after the next start."""
        self.projects.pick(project)
        self.freshen(project)
        self._shelf.pick(project.name)

    async def with_model(self, project: Project, work: Callable[..., Result], *arguments: object) -> Result:
        """What a function makes of a project's detector and of arguments, in a thread; raises CavgaError."""
        project.needed_run()
        self.freshen(project)
        async with self._shelf.lease(project.name) as served:
            return await self.heavy(work, served.detector, *arguments)

    def inspection(self, project: Project) -> Inspection:
        """What is known of a project's photographs."""
        if project.name not in self._inspections:
            self._inspections[project.name] = Inspection(project)
        return self._inspections[project.name]

    def is_scoring(self, project: Project) -> bool:
        """Whether photographs of a project are being scored."""
        return self._is_busy(f"score {project.name}")

    def score_missing(self, project: Project) -> None:
        """See to it that every photograph has a score of the version in use."""
        if self.is_scoring(project):
            self._again.add(project.name)
        elif project.run() is not None:
            self._tasks[f"score {project.name}"] = asyncio.create_task(self._score(project))

    async def _score(self, project: Project) -> None:
        inspection = self.inspection(project)
        try:
            while not inspection.is_stopped:
                self._again.discard(project.name)
                self.freshen(project)
                names = await asyncio.to_thread(inspection.missing)
                if names:
                    async with self._shelf.lease(project.name) as served:
                        await asyncio.to_thread(inspection.score, served.detector, names)
                elif project.name not in self._again:
                    return
        except Exception as error:
            inspection.problem = _said(error, project)

    def check(self, project: Project) -> Check | None:
        """What the last look through the good photographs found."""
        return self._checks.get(project.name)

    def start_check(self, project: Project, of: tuple[Any, ...]) -> None:
        """Look through the good photographs, unless that is being done."""
        if not self._is_busy(f"check {project.name}"):
            found = self._checks[project.name] = Check(of=of)
            self._tasks[f"check {project.name}"] = asyncio.create_task(self._check(project, found))

    async def _check(self, project: Project, found: Check) -> None:
        try:
            done = await asyncio.to_thread(check, project.good, progress=found)
            lines = [] if done.visibility is None else done.visibility.lines()
            found.found = {**done.to_dict(), "visibility": lines}
        except Exception as error:
            found.problem = _said(error, project)
        found.is_running = False

    def _is_busy(self, name: str) -> bool:
        return name in self._tasks and not self._tasks[name].done()

    def start_training(self, project: Project, settings: dict[str, dict[str, Any]], *, resume: bool) -> Job:
        """Train in a child, into a new run, or go on with the one that was stopped; raises CavgaError."""
        _require_torch()
        earlier, unfinished = project.run(), project.unfinished()
        if resume:
            if unfinished is None or not (unfinished / CONFIG_FILE).is_file():
                raise UsageError(f"{project.name} has no training to go on with: start one")
            run, flags = unfinished, ["--resume", "--config", str(unfinished / CONFIG_FILE)]
        else:
            if not images_below(project.good, project.root):
                raise UsageError(f"{project.name} has no good photographs: add some first")
            config = make_config("recommended", settings)
            run, flags = project.next_run(), _flags(settings, config.model.encoder)
        arguments = ["train", str(project.good), "--output", str(run), *flags]

        def ended(_job: Job) -> None:
            project.use_run(run.name)
            for problem in marks_taken_along(earlier, run):
                _job.lines.append(f"a mark was not taken along: {problem}".replace(f"{project.root}/", ""))
            self._soon_changed(project)

        return self.jobs.start(TRAINING, project.name, arguments, ended)

    def start_refit(self, project: Project, *, force: bool) -> Job:
        """Refit in a child; raises CavgaError."""
        _require_torch()
        arguments = ["refit", str(project.needed_run()), *(["--force"] if force else [])]
        return self.jobs.start(REFIT, project.name, arguments, lambda _job: self._soon_changed(project))

    def _soon_changed(self, project: Project) -> None:
        assert self._loop is not None
        with suppress(RuntimeError):  # the server has ended meanwhile: its next start sees what is there
            self._loop.call_soon_threadsafe(self.changed, project)

    def changed(self, project: Project) -> None:
        """Another version is in use, or other thresholds: score anew."""
        self.freshen(project)
        self.score_missing(project)
        if not self.given and self.projects.picked() is None:
            self.pick(project)


def can_train() -> str:
    """Why this installation cannot train, empty where it can."""
    return "" if find_spec("torch") else "training and refitting need torch: pip install 'cavga[train]'"


def _require_torch() -> None:
    if can_train():
        raise MissingExtraError(can_train())


def _flags(settings: dict[str, dict[str, Any]], encoder: str | None) -> list[str]:
    """Settings as flags of `cavga train`."""
    given = {name: value for values in settings.values() for name, value in values.items()}
    given |= {} if encoder is None else {"encoder": encoder}
    return [part for name, value in given.items() for part in (f"--{name.replace('_', '-')}", str(value))]


def _said(error: Exception, project: Project) -> str:
    """One line for people; what is our own fault is in the log."""
    if isinstance(error, CavgaError):
        return described(error, project)
    if isinstance(error, OSError):
        return error.strerror or "a file could not be read"
    logger.error("project %s: %s: %s", project.name, type(error).__name__, error, exc_info=error)
    return "something went wrong here; the log of the server says what"
