"""The README's commands exist, with these flags; its numbers are those of the generated results."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cavga.cli.main import parse
from tests.conftest import cavga, save_image, texture, write_category

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([ROOT / "README.md", ROOT / "benchmarks/README.md", *(ROOT / "docs").glob("*.md")])


def commands(document: Path) -> list[str]:
    blocks = re.findall(r"^```(?:bash|sh)?\n(.*?)^```", document.read_text(encoding="utf-8"), re.S | re.M)
    lines = [line.split("#")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line.startswith("cavga ")]


ALL = [(document.name, line) for document in DOCUMENTS for line in commands(document)]


def test_the_readme_shows_commands():
    assert len([line for name, line in ALL if name == "README.md"]) >= 4


@pytest.mark.parametrize(("document", "line"), ALL)
def test_every_documented_command_parses(document, line):
    assert parse(shlex.split(line)[1:]).run


def test_the_readmes_commands_and_its_python_run_as_they_stand(tmp_path):
    for i in range(4):
        save_image(tmp_path / f"photos/{i}.png", texture(i))
        save_image(tmp_path / f"new_photos/{i}.png", texture(50 + i))
    write_category(tmp_path / "data/screw", num_train=4, num_good=2, num_bad=2)
    snippet = re.search(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.S | re.M)
    assert snippet is not None
    done = subprocess.run(
        [sys.executable, "-c", snippet[1]], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 4
    for line in commands(ROOT / "README.md"):
        run = cavga(*shlex.split(line)[1:], cwd=tmp_path)
        assert run.returncode == 0, f"{line}: {run.stderr}"
    assert len((tmp_path / "results/predictions.jsonl").read_text().splitlines()) == 4
    assert len(list((tmp_path / "results/overlays").iterdir())) == 4
    assert (tmp_path / "runs/screw/report.html").is_file()
    shutil.rmtree(tmp_path / "runs")


def test_every_make_target_of_the_documents_exists():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    for document in [*DOCUMENTS, ROOT / "CONTRIBUTING.md"]:
        for name in re.findall(r"`?make ([a-z-]+)`", document.read_text(encoding="utf-8")):
            assert name in targets, f"{document.name}: make {name}"


def test_links_lead_somewhere():
    for document in [*DOCUMENTS, ROOT / "CONTRIBUTING.md"]:
        for target in re.findall(r"\]\(([^)#]+)", document.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (document.parent / target).exists(), f"{document.name}: {target}"


@pytest.mark.parametrize("page", ["results", "claims"])
def test_pages_of_figures_are_the_committed_json(page, tmp_path, monkeypatch):
    import sys
    from importlib import import_module

    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    script = import_module(f"render_{page}")
    sys.modules.pop(f"render_{page}")
    written = (ROOT / f"docs/{page}.md").read_text(encoding="utf-8")
    (tmp_path / "docs").mkdir()
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks/results").symlink_to(ROOT / "benchmarks/results")
    monkeypatch.setattr(script, "HERE", tmp_path / "benchmarks")
    script.main()
    assert (tmp_path / f"docs/{page}.md").read_text(encoding="utf-8") == written
