"""The documents' commands, scripts and links exist; pages of figures are what the committed rows say."""

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
READMES = [ROOT / "README.md", ROOT / "benchmarks/README.md", ROOT / "studies/README.md"]
DOCUMENTS = sorted([*READMES, *(ROOT / "docs").glob("*.md"), *(ROOT / "docs/results").glob("*.md")])
DECISIONS = sorted((ROOT / "docs/decisions").glob("*.md"))


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
    for document in [*DOCUMENTS, *DECISIONS, ROOT / "CONTRIBUTING.md"]:
        for target in re.findall(r"\]\(([^)#]+)", document.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_every_documented_script_exists():
    folders = "benchmarks|studies|docs|tests|examples"
    for document in [*DOCUMENTS, *DECISIONS, ROOT / "Makefile"]:
        text = document.read_text(encoding="utf-8")
        modules = re.findall(rf"python -m ((?:{folders})(?:\.[a-z_]+)+)", text)
        scripts = [
            *(f"{name.replace('.', '/')}.py" for name in modules),
            *re.findall(rf"(?:{folders})/[\w/]+\.py", text),
        ]
        for script in scripts:
            assert (ROOT / script).is_file(), f"{document.name}: {script}"


def test_pages_of_figures_are_the_committed_rows():
    from docs.generate import claims, results

    folder = ROOT / "docs/results"
    assert {path.stem: path.read_text(encoding="utf-8") for path in folder.glob("*.md")} == results.texts()
    assert (ROOT / "docs/claims.md").read_text(encoding="utf-8") == claims.text()


def test_tables_of_results_fit_a_screen():
    for path in (ROOT / "docs/results").glob("*.md"):
        for line in path.read_text(encoding="utf-8").splitlines():
            assert not line.startswith("|") or line.count("|") <= 9, f"{path.name}: {line}"
