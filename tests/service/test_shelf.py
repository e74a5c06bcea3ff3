"""A shelf whose models become others while they are in use."""

import asyncio
import shutil
import threading

import pytest

from cavga.service.meters import Meters
from cavga.service.refusals import RefusedError
from cavga.service.shelf import Shelf
from tests.conftest import GOLDEN


def make(**paths) -> Shelf:
    return Shelf(paths, max_models=4, device="cpu", meters=Meters())


def test_who_uses_a_model_keeps_it_and_the_next_one_gets_the_new(tmp_path):
    shelf, other = make(part=GOLDEN), shutil.copytree(GOLDEN, tmp_path / "other")

    async def use() -> None:
        async with shelf.lease("part") as old:
            shelf.put("part", other)
            async with shelf.lease("part") as new:
                assert new is not old
                assert new.detector._source.path == other
            assert list(old.detector.results([])) == []
            assert old.users == 1
        async with shelf.lease("part") as again:
            assert again is new
        assert shelf._leaving == []

    asyncio.run(use())
    shelf.close()


def test_what_changes_while_it_is_loaded_is_loaded_again(tmp_path, monkeypatch):
    shelf, other = make(part=GOLDEN), shutil.copytree(GOLDEN, tmp_path / "other")
    load, begun, go_on = shelf._load, threading.Event(), threading.Event()

    def slow(name: str):
        found = load(name)
        if not begun.is_set():
            begun.set()
            go_on.wait(30)
        return found

    monkeypatch.setattr(shelf, "_load", slow)

    async def use() -> None:
        async def leased():
            async with shelf.lease("part") as served:
                return served.detector._source.path

        waiting = asyncio.create_task(leased())
        await asyncio.to_thread(begun.wait, 30)
        shelf.put("part", other)
        go_on.set()
        assert await waiting == other

    asyncio.run(use())
    shelf.close()


def test_the_first_model_answers_unless_one_was_picked():
    shelf = make()
    with pytest.raises(RefusedError, match="no model here yet"):
        _ = shelf.first
    shelf.put("a", GOLDEN)
    shelf.put("b", GOLDEN)
    assert shelf.first == "a"
    shelf.pick("b")
    assert shelf.first == "b"
