import json
import shutil

import pytest

from cavga.errors import ModelFileError, UsageError
from cavga.projects.project import NotThereError, Projects
from tests.conftest import GOLDEN, save_image, texture


@pytest.mark.parametrize("name", ["screw", "Prüfteil 3", "a", "M6_x-1.5", "0", "日本"])
def test_names_that_are_folders_everywhere(projects, name):
    assert projects.make(name).good.is_dir()
    assert [project.name for project in projects.all()] == [name]
    assert projects.named(name).inspect == projects.root / name / "inspect"


@pytest.mark.parametrize(
    "name",
    ["", " ", ".", "..", "../x", "a/b", "a\\b", "/etc", ".hidden", "a.", "a ", "x" * 65, "<img src=x>", "a\nb", "a\0b",
     "-x", "con:"],
)  # fmt: skip
def test_names_that_could_be_something_else_are_refused(projects, name):
    with pytest.raises(UsageError, match="cannot be called"):
        projects.make(name)
    assert not projects.root.exists()


def test_a_name_is_taken_once_whatever_its_case(projects):
    projects.make("Screw")
    with pytest.raises(UsageError, match="there already"):
        projects.make("screw")


@pytest.mark.parametrize("name", ["other", "..", "../projects/part", "part/../part", "part/runs", ""])
def test_a_name_is_looked_up_and_never_a_path(projects, part, name):
    with pytest.raises(NotThereError):
        projects.named(name)
    with pytest.raises(NotThereError):
        part.photograph("inspect", name)
    with pytest.raises(NotThereError):
        part.photographs_of("runs")


def test_what_links_lead_out_is_not_there(projects, part, tmp_path):
    outside = save_image(tmp_path / "outside/secret.png", texture(1)).parent
    (part.inspect / "link.png").symlink_to(outside / "secret.png")
    (part.inspect / "folder").symlink_to(outside)
    (projects.root / "away").symlink_to(outside)
    with pytest.raises(NotThereError):
        part.photograph("inspect", "link.png")
    with pytest.raises(NotThereError):
        part.photograph("inspect", "folder/secret.png")
    assert part.photograph("inspect", "0.png") == part.inspect / "0.png"
    assert projects.photograph_folders() == []
    save_image(projects.root / "incoming/line 3/0.png", texture(1))
    (projects.root / "incoming/line 3/1.png").symlink_to(outside / "secret.png")
    assert projects.photograph_folders() == ["incoming", "incoming/line 3"]
    for name in ("away", "part/good", "../outside", ".", ""):
        with pytest.raises(NotThereError):
            projects.photograph_folder(name)


def test_projects_with_other_names_are_said_not_shown(projects, part):
    shutil.copytree(part.folder, projects.root / "<img src=x onerror=alert(1)>")
    assert projects.unnamed() == ["<img src=x onerror=alert(1)>"]
    assert projects.all() == [part]


def test_the_newest_run_is_used_unless_one_was_chosen(projects, part):
    shutil.copytree(GOLDEN, part.folder / "runs/002")
    (part.folder / "runs/003").mkdir()
    assert [run.name for run in part.runs()] == ["001", "002"]
    assert (part.run().name, part.unfinished().name, part.next_run().name) == ("002", "003", "004")
    part.use_run("001")
    assert part.run().name == "001"
    for name in ("003", "..", "001/../002"):
        with pytest.raises(NotThereError):
            part.use_run(name)
    with pytest.raises(ModelFileError, match="no model yet"):
        projects.make("new").needed_run()


def test_a_pick_lasts_over_the_next_start(projects, part):
    assert projects.picked() is None
    projects.pick(part)
    assert Projects(projects.root).picked() == part
    with pytest.raises(ModelFileError):
        projects.pick(projects.make("new"))
    shutil.rmtree(part.folder)
    assert projects.picked() is None


def test_damaged_notes_are_said(projects, part):
    (part.folder / "project.json").write_text("{", encoding="utf-8")
    with pytest.raises(ModelFileError, match=r"project\.json"):
        part.run()
    (part.folder / "project.json").write_text(json.dumps({"run": 3}), encoding="utf-8")
    with pytest.raises(ModelFileError, match=r"project\.json"):
        part.run()
