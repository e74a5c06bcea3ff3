"""The page's routes: projects, their photographs, trainings and versions. They may change with the page."""

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from cavga._version import __version__
from cavga.atomic_files import NotWrittenError
from cavga.config.backbones import BACKBONES
from cavga.errors import CavgaError, MissingExtraError
from cavga.images.opening import ImageFileError
from cavga.inference.lines import as_json
from cavga.output_lock import BusyError
from cavga.projects.jobs import OccupiedError
from cavga.projects.learning import go_to, model_facts, set_rate, version_rows
from cavga.projects.project import GOOD, INSPECT, NotThereError, Project, images_below
from cavga.service.project_bodies import (
    NewProject,
    Refit,
    SetRate,
    Train,
    UseVersion,
    body_of,
)
from cavga.service.refusals import RefusedError
from cavga.service.workbench import Workbench, can_train

_STATUSES = (
    (NotThereError, 404, "not_there"),
    (OccupiedError, 409, "occupied"),
    (BusyError, 409, "busy"),
    (NotWrittenError, 507, "not_written"),
    (MissingExtraError, 501, "missing_extra"),
)
_INSTALLED = "efficientnet_lite0"  # its weights come with the package index's
Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class PlainRoute(APIRoute):
    """A route that says in one line, without paths of this machine, what went wrong."""

    def get_route_handler(self) -> Handler:
        """As FastAPI's, with our errors as refusals."""
        handle = super().get_route_handler()

        async def plain(request: Request) -> Response:
            try:
                return await handle(request)
            except CavgaError as error:
                raise refused(error, request.app.state.projects_root) from None

        return plain


def refused(error: CavgaError, root: Path) -> RefusedError:
    """An error of ours as an answer."""
    message = str(error).replace(f"{root}/", "")
    if isinstance(error, ImageFileError):
        return RefusedError(413 if error.is_too_large else 422, "image", message)
    for kind, status, reason in _STATUSES:
        if isinstance(error, kind):
            return RefusedError(status, reason, message)
    return RefusedError(422, "unusable", message)


def answer(content: dict[str, Any]) -> Response:
    """JSON."""
    return Response(as_json(content), media_type="application/json")


def project_router() -> APIRouter:
    """A router of the page: its routes are no part of what is described to others."""
    return APIRouter(route_class=PlainRoute, include_in_schema=False)


def project_routes(bench: Workbench) -> APIRouter:
    """Projects: which there are, one of them, and which answers /predict."""
    router = project_router()

    @router.get("/projects")
    async def projects() -> Response:
        return answer(await bench.heavy(_overview, bench))

    @router.post("/projects")
    async def make(request: Request) -> Response:
        body: NewProject = await body_of(request, NewProject)
        name = body.name.strip()
        bench.check_name(name)
        project = await bench.heavy(bench.projects.make, name)
        return answer({"name": project.name})

    @router.get("/folders")
    async def folders() -> Response:
        return answer({"folders": await bench.heavy(bench.projects.photograph_folders)})

    @router.get("/projects/{name}")
    async def state(name: str) -> Response:
        project = bench.projects.named(name)
        bench.freshen(project)
        return answer(await bench.heavy(_state, bench, project))

    @router.post("/projects/{name}/check")
    async def check(name: str) -> Response:
        project = bench.projects.named(name)
        bench.start_check(project, await bench.heavy(_listing, project))
        return answer({})

    @router.post("/projects/{name}/pick")
    async def pick(name: str) -> Response:
        bench.pick(bench.projects.named(name))
        return answer({"picked": bench.picked})

    return router


def job_routes(bench: Workbench) -> APIRouter:
    """What is done by a child: trainings and refits."""
    router = project_router()

    @router.post("/projects/{name}/train")
    async def train(request: Request, name: str) -> Response:
        body: Train = await body_of(request, Train)
        project = bench.projects.named(name)
        return answer(bench.start_training(project, body.settings(), resume=body.resume).as_dict())

    @router.post("/projects/{name}/refit")
    async def refit(request: Request, name: str) -> Response:
        body: Refit = await body_of(request, Refit)
        return answer(bench.start_refit(bench.projects.named(name), force=body.force).as_dict())

    @router.get("/jobs")
    async def jobs() -> Response:
        return answer({"jobs": [job.as_dict() for job in bench.jobs.all()]})

    @router.post("/jobs/{id}/cancel")
    async def cancel(id: str) -> Response:
        return answer(bench.jobs.cancel(id).as_dict())

    return router


def version_routes(bench: Workbench) -> APIRouter:
    """Which version is in use, and its thresholds."""
    router = project_router()

    @router.post("/projects/{name}/use")
    async def use(request: Request, name: str) -> Response:
        body: UseVersion = await body_of(request, UseVersion)
        project = bench.projects.named(name)
        if body.run is not None:
            await bench.heavy(project.use_run, body.run)
        if body.number is not None:
            await bench.heavy(go_to, project, body.number)
        bench.changed(project)
        return answer({})

    @router.post("/projects/{name}/rate")
    async def rate(request: Request, name: str) -> Response:
        body: SetRate = await body_of(request, SetRate)
        project = bench.projects.named(name)
        given = {"false_alarm_rate": body.false_alarm_rate, "threshold": body.threshold}
        guarantees = await bench.heavy(set_rate, project, **given)
        bench.changed(project)
        return answer({"guarantees": guarantees})

    return router


def _overview(bench: Workbench) -> dict[str, Any]:
    """All projects, and what this installation can do."""
    return {
        "version": __version__,
        "folder": bench.projects.root.name,
        "projects": [_row(project) for project in bench.projects.all()],
        "not_shown": bench.projects.unnamed(),
        "models": list(bench.given),
        "picked": bench.picked,
        "cannot_train": can_train(),
        "encoders": [{"name": name, "is_installed": name == _INSTALLED} for name in BACKBONES],
    }


def _row(project: Project) -> dict[str, Any]:
    run = project.run()
    counts = {which: len(images_below(project.photographs_of(which), project.root)) for which in (GOOD, INSPECT)}
    return {
        "name": project.name,
        "num_good": counts[GOOD],
        "num_inspect": counts[INSPECT],
        "has_model": run is not None,
    }


def _listing(project: Project) -> tuple[Any, ...]:
    """Which good photographs there are, to see whether others are there by now."""
    found = images_below(project.good, project.root)
    return tuple((name, path.stat().st_size, path.stat().st_mtime_ns) for name, path in found.items())


def _state(bench: Workbench, project: Project) -> dict[str, Any]:
    run, unfinished, listing = project.run(), project.unfinished(), _listing(project)
    check = bench.check(project)
    is_training = any(job.state == "running" and job.project == project.name for job in bench.jobs.all())
    return {
        **_row(project),
        "is_picked": bench.picked == project.name,
        "check": None if check is None else {
            "is_running": check.is_running, "num_done": check.num_done, "num_all": check.num_all,
            "problem": check.problem, "is_current": check.of == listing, **check.found,
        },
        "model": None if run is None else model_facts(run),
        "versions": [] if run is None else version_rows(run),
        "runs": [path.name for path in project.runs()],
        "unfinished": None if unfinished is None or is_training else unfinished.name,
    }  # fmt: skip
