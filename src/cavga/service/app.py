"""The ASGI app of a server: routes, behind the doors."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from cavga._version import __version__
from cavga.service.doors import Doors
from cavga.service.open_inference import protocol_routes
from cavga.service.refusals import RefusedError, internal, refusal_response, unusable
from cavga.service.routes import predict_routes
from cavga.service.scoring import Scorer
from cavga.service.settings import ServiceSettings
from cavga.service.shelf import Shelf


def make_app(shelf: Shelf, settings: ServiceSettings) -> ASGIApp:
    """An app that answers with the models of a shelf, and puts them away when the server ends."""
    scorer = Scorer(shelf, settings)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        shelf.close()
        scorer.close()

    app = FastAPI(
        title="cavga", version=__version__, lifespan=lifespan,
        docs_url=None, redoc_url=None,  # their pages load programs from other hosts
        description="Scores photographs: how anomalous each is, and where.",
    )  # fmt: skip
    app.include_router(predict_routes(scorer))
    app.include_router(protocol_routes(scorer))
    for kind in (RefusedError, HTTPException, RequestValidationError, Exception):
        app.add_exception_handler(kind, _refused)
    return Doors(app, settings, shelf.meters)


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
