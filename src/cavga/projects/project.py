"""The projects folder: which projects there are, and where each keeps what. No torch, no HTTP.

A name that comes from outside is looked up in a listing and never becomes part of a path by itself.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from cavga.atomic_files import atomic_write
from cavga.errors import CavgaError, ModelFileError, UsageError
from cavga.images.walk import walk_images
from cavga.output_lock import writing_to
from cavga.regular_files import read_regular, real_path
from cavga.runs.model_json import MODEL_FILE
from cavga.structured_files import StructureError, parse_json

PROJECT_FILE = "project.json"
PICKED_FILE = "picked.json"
GOOD, INSPECT, RUNS, RESULTS = "good", "inspect", "runs", "results"
_NAME = re.compile(r"\w(?:[\w .-]{0,62}[\w-])?")
Content = TypeVar("Content")
_DEEPEST = 4  # folders below the projects folder that are offered


class NotThereError(CavgaError):
    """What a request names is not there."""


class _ProjectFile(msgspec.Struct):
    run: str = ""


class _PickedFile(msgspec.Struct):
    project: str = ""


@dataclass(frozen=True)
class Project:
    """One project; `root` is the projects folder, without links."""

    root: Path
    name: str

    @property
    def folder(self) -> Path:
        return self.root / self.name

    @property
    def good(self) -> Path:
        """Photographs to train on."""
        return self.folder / GOOD

    @property
    def inspect(self) -> Path:
        """Photographs to inspect."""
        return self.folder / INSPECT

    @property
    def results(self) -> Path:
        return self.folder / RESULTS

    def photographs_of(self, which: str) -> Path:
        """The folder of one of the two sets; raises NotThereError."""
        if which not in (GOOD, INSPECT):
            raise NotThereError(f"no set {which[:40]!r}: expected {GOOD} or {INSPECT}")
        return self.folder / which

    def photograph(self, which: str, name: str) -> Path:
        """A photograph by its path below the set's folder; raises NotThereError."""
        path = images_below(self.photographs_of(which), self.root).get(name)
        if path is None:
            raise NotThereError(f"{self.name} has no photograph {name[:200]!r}; it may have been removed")
        return path

    def runs(self) -> list[Path]:
        """Runs that are trained to their end, oldest first."""
        return [run for run in self._run_folders() if (run / MODEL_FILE).is_file()]

    def unfinished(self) -> Path | None:
        """The newest run if its training was stopped."""
        folders = self._run_folders()
        return folders[-1] if folders and not (folders[-1] / MODEL_FILE).is_file() else None

    def run(self) -> Path | None:
        """The run in use: the one that was chosen, else the newest; None before the first training."""
        runs = self.runs()
        chosen = _read(self.folder / PROJECT_FILE, _ProjectFile).run
        return next((run for run in runs if run.name == chosen), runs[-1] if runs else None)

    def needed_run(self) -> Path:
        """The run in use; raises ModelFileError where there is none."""
        run = self.run()
        if run is None:
            raise ModelFileError(f"{self.name} has no model yet: train one first")
        return run

    def use_run(self, name: str) -> None:
        """Make a run the one in use; raises NotThereError."""
        if name not in [run.name for run in self.runs()]:
            raise NotThereError(f"{self.name} has no run {name[:40]!r}")
        _write(self.folder / PROJECT_FILE, {"run": name})

    def next_run(self) -> Path:
        """Where the next training goes."""
        numbers = [int(run.name) for run in self._run_folders()]
        return self.folder / RUNS / f"{max(numbers, default=0) + 1:03d}"

    def _run_folders(self) -> list[Path]:
        return [path for path in sorted((self.folder / RUNS).glob("[0-9][0-9][0-9]")) if path.is_dir()]


class Projects:
    """The projects folder; it is created when the first project is."""

    def __init__(self, root: Path) -> None:
        self.root = real_path(root)

    def all(self) -> list[Project]:
        """Every project, by name."""
        return [Project(self.root, path.name) for path in self._folders() if _is_project(path)]

    def unnamed(self) -> list[str]:
        """Projects that are not shown, because of their names."""
        found = [path for path in self._folders() if (path / PROJECT_FILE).is_file()]
        return [path.name for path in found if not _NAME.fullmatch(path.name)]

    def named(self, name: str) -> Project:
        """A project by its name; raises NotThereError."""
        found = next((project for project in self.all() if project.name == name), None)
        if found is None:
            raise NotThereError(f"no project {name[:80]!r} in the projects folder")
        return found

    def make(self, name: str) -> Project:
        """A new project; raises UsageError for a name that cannot be one, or is there already."""
        if not _NAME.fullmatch(name):
            raise UsageError(
                f"a project cannot be called {name[:80]!r}: expected 1 to 64 letters, digits, spaces, dots, - and _, "
                "with a letter or digit first"
            )
        taken = {path.name.lower() for path in self._folders()}
        if name.lower() in taken:
            raise UsageError(f"{name} is there already: choose another name")
        project = Project(self.root, name)
        with writing_to(project.folder):
            for folder in (project.good, project.inspect):
                folder.mkdir(exist_ok=True)
            _write(project.folder / PROJECT_FILE, {"run": ""})
        return project

    def picked(self) -> Project | None:
        """The project whose model was picked to answer, if it has one."""
        name = _read(self.root / PICKED_FILE, _PickedFile).project
        return next((project for project in self.all() if project.name == name and project.run()), None)

    def pick(self, project: Project) -> None:
        """Remember whose model is to answer."""
        project.needed_run()
        _write(self.root / PICKED_FILE, {"project": project.name})

    def photograph_folders(self) -> list[str]:
        """Folders that hold images and belong to no project, as paths below the projects folder."""
        return sorted({path.relative_to(self.root).as_posix() for path in self._walk(self.root, 0)})

    def photograph_folder(self, name: str) -> Path:
        """One of them; raises NotThereError."""
        if name not in self.photograph_folders():
            raise NotThereError(f"no folder {name[:200]!r} with photographs in the projects folder")
        return self.root / name

    def _folders(self) -> list[Path]:
        if not self.root.is_dir():
            return []
        return sorted(path for path in self.root.iterdir() if path.is_dir() and not path.is_symlink())

    def _walk(self, folder: Path, depth: int) -> Iterator[Path]:
        for path in sorted(folder.iterdir()) if folder.is_dir() and depth < _DEEPEST else []:
            if path.is_symlink() or not path.is_dir() or path.name.startswith(".") or (path / PROJECT_FILE).exists():
                continue
            if next(walk_images(path), None) is not None:
                yield path
            yield from self._walk(path, depth + 1)


def images_below(folder: Path, root: Path) -> dict[str, Path]:
    """The images of a folder by their path below it; what links lead out of `root` is none of them."""
    if not folder.is_dir():
        return {}
    found = {path.relative_to(folder).as_posix(): path for path in walk_images(folder)}
    return {name: path for name, path in found.items() if real_path(path).is_relative_to(root)}


def _is_project(path: Path) -> bool:
    return bool(_NAME.fullmatch(path.name)) and (path / PROJECT_FILE).is_file()


def _read(path: Path, schema: type[Content]) -> Content:
    try:
        return parse_json(read_regular(path), schema)
    except FileNotFoundError:
        return schema()
    except StructureError as error:
        raise ModelFileError(f"{path} cannot be read: {error}; write {{}} into it") from None


def _write(path: Path, content: dict[str, str]) -> None:
    atomic_write(path, (json.dumps(content, indent=2) + "\n").encode())
