"""The page's routes of photographs: they come, are looked at, and go."""

from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from cavga.images.decode import read_bytes
from cavga.images.opening import ImageFileError
from cavga.projects.photographs import Stored, copy_photographs, picture, remove_photograph, store_photograph
from cavga.projects.project import GOOD, INSPECT, Project, images_below
from cavga.service.project_bodies import CopyFolder, RemovePhotographs, body_of
from cavga.service.project_routes import answer, project_router
from cavga.service.refusals import RefusedError, unusable
from cavga.service.uploads import check_size
from cavga.service.workbench import Workbench

SIDES = (160, 320, 640)  # px, of pictures that are made smaller
_Set = Annotated[str, Query(alias="set")]


def photograph_routes(bench: Workbench, max_pixels: int) -> APIRouter:
    """What is there, and pictures of it."""
    router = project_router()

    @router.get("/projects/{name}/photographs")
    async def photographs(name: str, which: _Set = GOOD) -> Response:
        project = bench.projects.named(name)
        names = await bench.heavy(lambda: list(images_below(project.photographs_of(which), project.root)))
        return answer({"names": names})

    @router.get("/projects/{name}/picture")
    async def shown(name: str, which: _Set, file: str, side: int | None = None) -> Response:
        if side is not None and side not in SIDES:
            raise unusable(f"side: expected one of {', '.join(map(str, SIDES))}", "side")
        path = await bench.heavy(bench.projects.named(name).photograph, which, file)
        return Response(await bench.heavy(_picture, path, side, max_pixels), media_type="image/jpeg")

    _changing_routes(router, bench, max_pixels)
    return router


def _changing_routes(router: APIRouter, bench: Workbench, max_pixels: int) -> None:
    @router.post("/projects/{name}/photographs")
    async def upload(request: Request, name: str, which: _Set, file: str) -> Response:
        project = bench.projects.named(name)
        stored = await bench.heavy(_store, project.photographs_of(which), file, await request.body(), max_pixels)
        _changed(bench, project, which)
        return answer(vars(stored))

    @router.post("/projects/{name}/photographs/copy")
    async def copy(request: Request, name: str) -> Response:
        body: CopyFolder = await body_of(request, CopyFolder)
        project = bench.projects.named(name)
        source, target = bench.projects.photograph_folder(body.folder), project.photographs_of(body.set)
        done = await bench.heavy(
            copy_photographs, source, project.root, target, lambda content, name: _check(content, name, max_pixels)
        )
        _changed(bench, project, body.set)
        return answer(vars(done))

    @router.post("/projects/{name}/photographs/remove")
    async def remove(request: Request, name: str) -> Response:
        body: RemovePhotographs = await body_of(request, RemovePhotographs)
        project = bench.projects.named(name)
        for path in [project.photograph(body.set, photograph) for photograph in body.names]:
            await bench.heavy(remove_photograph, path)
        return answer({"num_removed": len(body.names)})


def _store(folder: Path, name: str, content: bytes, max_pixels: int) -> Stored:
    check_size(content, name[:200] or "the photograph", max_pixels)
    return store_photograph(folder, name, content)


def _check(content: bytes, name: str, max_pixels: int) -> None:
    """As `check_size`, for who goes on with the next one."""
    try:
        check_size(content, name, max_pixels)
    except RefusedError as error:
        raise ImageFileError(str(error)) from None


def _picture(path: Path, side: int | None, max_pixels: int) -> bytes:
    check_size(read_bytes(path), path.name, max_pixels)
    return picture(path, side)


def _changed(bench: Workbench, project: Project, which: str) -> None:
    if which == INSPECT:
        bench.score_missing(project)
