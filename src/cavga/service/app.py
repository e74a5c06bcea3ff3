"""The ASGI app of a server: routes, behind the doors."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from cavga._version import __version__
from cavga.service.doors import Doors
from cavga.service.inspection_routes import inspection_routes
from cavga.service.open_inference import protocol_routes
from cavga.service.page_files import page_routes
from cavga.service.photograph_routes import photograph_routes
from cavga.service.project_routes import job_routes, project_routes, version_routes
from cavga.service.refusals import RefusedError, internal, refusal_response, unusable
from cavga.service.routes import predict_routes
from cavga.service.scoring import Scorer
from cavga.service.settings import ServiceSettings
from cavga.service.shelf import Shelf
from cavga.service.workbench import Workbench


def make_app(shelf: Shelf, settings: ServiceSettings) -> ASGIApp:
    """An app that answers with the models of a shelf, and puts them away when the server ends."""
    scorer = Scorer(shelf, settings)
    bench = None if settings.projects is None else Workbench(settings.projects, scorer)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        if bench is not None:
            bench.open()
        yield
        if bench is not None:
            await bench.close()
        shelf.close()
        scorer.close()

    app = FastAPI(
        title="cavga", version=__version__, lifespan=lifespan,
        docs_url=None, redoc_url=None,  # their pages load programs from other hosts
        description="Scores photographs: how anomalous each is, and where.",
    )  # fmt: skip
    app.include_router(predict_routes(scorer))
    app.include_router(protocol_routes(scorer))
    if bench is not None:
        app.state.projects_root = bench.projects.root
        for router in _page(bench, settings):
            app.include_router(router)
    for kind in (RefusedError, HTTPException, RequestValidationError, Exception):
        app.add_exception_handler(kind, _refused)
    return Doors(app, settings, shelf.meters)


def _page(bench: Workbench, settings: ServiceSettings) -> list[APIRouter]:
    """The page, and the routes behind it."""
    photographs, inspection = photograph_routes(bench, settings.max_pixels), inspection_routes(bench)
    return [page_routes(), project_routes(bench), photographs, job_routes(bench), version_routes(bench), inspection]


async def _refused(request: Request, error: Exception) -> Response:
    return refusal_response(_as_refusal(request, error), request.scope)


def _as_refusal(request: Request, error: Exception) -> RefusedError:
    match error:
        case RefusedError():
            return error
        case HTTPException():
            what = "no such page" if error.status_code == 404 else str(error.detail)
            return unusable(f"{request.method} {request.url.path[:200]}: {what}", "route", error.status_code)
        case RequestValidationError():
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            return unusable(f"{place}: {first['msg']}", "parameters", 422)
    return internal()  # the doors log it
