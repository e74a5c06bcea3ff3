import shutil
from pathlib import Path

import pytest

from cavga.projects.project import Project, Projects
from tests.conftest import GOLDEN, save_image, texture


@pytest.fixture
def projects(tmp_path: Path) -> Projects:
    return Projects(tmp_path / "projects")


@pytest.fixture
def part(projects: Projects) -> Project:
    """A project with photographs of both kinds and a model that needs no torch."""
    project = projects.make("part")
    shutil.copytree(GOLDEN, project.folder / "runs/001")
    for i in range(3):
        save_image(project.good / f"{i}.png", texture(i))
        save_image(project.inspect / f"{i}.png", texture(100 + i))
    return project
