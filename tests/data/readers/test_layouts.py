"""One table of layouts: every reader in it has what the table says, and everything else follows from it."""

from importlib import import_module
from inspect import signature

import pytest

from cavga.cli.main import main
from cavga.data.catalog import load_catalog
from cavga.data.readers.layouts import LAYOUTS, Layout, in_order_of_recognition, where_to_get


def test_every_reader_takes_what_the_table_says():
    for name, layout in LAYOUTS.items():
        reader = import_module(f"cavga.data.{layout.reader}")
        assert list(signature(getattr(reader, f"load_{name}")).parameters)[1:] == list(layout.takes)
        assert name == "manifest" or callable(getattr(reader, f"find_{name}"))


def test_known_sets_are_recognised_before_any_folder():
    assert in_order_of_recognition() == [
        *("shanghaitech", "lag", "idx", "cifar10", "coco", "classes", "mvtec", "labelled", "folder"),
    ]


def test_a_line_in_the_table_is_a_layout(tmp_path, monkeypatch):
    monkeypatch.setitem(LAYOUTS, "folder2", Layout("readers.new", sources=LAYOUTS["lag"].sources[:0]))
    (tmp_path / "a.png").touch()
    with pytest.raises(ModuleNotFoundError, match=r"cavga\.data\.readers\.new"):
        load_catalog(tmp_path, layout="folder2")
    assert where_to_get("x/FashionMNIST").startswith("Fashion-MNIST is at")


def test_a_layout_of_a_configuration_file_is_checked(tmp_path, capsys):
    (tmp_path / "a.png").touch()
    (tmp_path / "run.toml").write_text('[data]\nlayout = "mvtek"\n')
    output = tmp_path / "run"
    assert main(["train", str(tmp_path), "--output", str(output), "--config", str(tmp_path / "run.toml")]) == 2
    assert "unknown layout 'mvtek': expected one of mvtec" in capsys.readouterr().err
    assert not output.exists()
