"""The documents' commands, scripts and links exist; pages of figures are what the committed rows say."""

import re
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from cavga.cli.main import parse
from cavga.config.presets import PRESETS
from cavga.config.schema import DataConfig, TrainingConfig
from tests.conftest import run_command, save_image, texture, write_category

ROOT = Path(__file__).parents[2]
READMES = [ROOT / "README.md", ROOT / "benchmarks/README.md", ROOT / "studies/README.md"]
DOCUMENTS = sorted(
    [*READMES, ROOT / "SECURITY.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "docs/results").glob("*.md")]
)
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


@pytest.mark.usefixtures("with_exports", "few_synthetic")
def test_the_readmes_commands_and_its_python_run_as_they_stand(tmp_path, monkeypatch, capsys):
    """All but the defaults: an epoch at 64 px; with fewer patches than directions whitening enlarges rounding."""
    small = replace(PRESETS["recommended"], data=DataConfig(image_size=(64, 64)), training=TrainingConfig(epochs=1))
    monkeypatch.setitem(PRESETS, "recommended", small)
    monkeypatch.chdir(tmp_path)
    for i in range(12):
        save_image(tmp_path / f"photos/{i}.png", texture(i))
    for i in range(4):
        save_image(tmp_path / f"new_photos/{i}.png", texture(50 + i))
    for folder in ("data/screw", "labelled"):
        write_category(tmp_path / folder, num_train=12, num_good=2, num_bad=2)
    snippet = re.search(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.S | re.M)
    assert snippet is not None
    exec(compile(snippet[1], "README.md", "exec"), {})
    assert len(capsys.readouterr().out.splitlines()) == 4
    for line in commands(ROOT / "README.md"):
        code, _, err = run_command(capsys, *shlex.split(line)[1:])
        assert code == 0, f"{line}: {err}"
    assert len((tmp_path / "results/predictions.jsonl").read_text().splitlines()) == 4
    assert len(list((tmp_path / "results/overlays").iterdir())) == 4
    assert (tmp_path / "runs/screw/report.html").is_file()
    assert (tmp_path / "runs/photos/report.html").is_file()
    shutil.rmtree(tmp_path / "runs")


def test_the_readme_is_short_and_so_are_its_sentences():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    prose = re.sub(r"^```.*?^```", "", text, flags=re.S | re.M)
    prose = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", prose)  # of a link its words
    parts = re.split(r"\n\s*\n|^\s*- |^#+ ", prose, flags=re.M)
    sentences = [sentence for part in parts for sentence in re.split(r"(?<=[.:?!*])\s+", part)]
    longest = max(sentences, key=lambda sentence: len(sentence.split()))
    assert len(longest.split()) <= 25, longest
    assert len(text.split()) <= 720


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
            package = ROOT / script.removesuffix(".py") / "__main__.py"
            assert (ROOT / script).is_file() or package.is_file(), f"{document.name}: {script}"


def test_pages_of_figures_are_the_committed_rows():
    from docs.generate import claims, methods, reliability, results

    folder = ROOT / "docs/results"
    assert {path.stem: path.read_text(encoding="utf-8") for path in folder.glob("*.md")} == results.texts()
    for name, draw in results.PICTURES.items():
        assert (ROOT / f"docs/images/{name}.svg").read_text(encoding="utf-8") == draw()
    assert (ROOT / "docs/claims.md").read_text(encoding="utf-8") == claims.text()
    assert (ROOT / "docs/reliability.md").read_text(encoding="utf-8") == reliability.text()
    assert (ROOT / "docs/benchmarks.md").read_text(encoding="utf-8") == methods.page()


def test_tables_of_results_fit_a_screen():
    for path in (ROOT / "docs/results").glob("*.md"):
        for line in path.read_text(encoding="utf-8").splitlines():
            assert not line.startswith("|") or line.count("|") <= 9, f"{path.name}: {line}"
