"""The page's own files: HTML, CSS and JavaScript of this package, and nothing from elsewhere."""

from importlib.resources import files
from pathlib import PurePath

from fastapi import APIRouter
from starlette.responses import Response

from cavga.service.refusals import unusable

_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
}
INDEX, PREFIX = "index.html", "/page/"


def page_routes() -> APIRouter:
    """The page at /, and what it loads below /page/."""
    folder = files("cavga.service") / "page"
    known = {item.name: item.read_bytes() for item in folder.iterdir() if PurePath(item.name).suffix in _KINDS}
    router = APIRouter(include_in_schema=False)

    @router.get("/")
    async def index() -> Response:
        return _file(INDEX, known[INDEX])

    @router.get(PREFIX + "{name}")
    async def file(name: str) -> Response:
        if name not in known:
            raise unusable(f"the page has no file {name[:80]!r}", "route", 404)
        return _file(name, known[name])

    return router


def is_of_page(path: str) -> bool:
    """Whether a request is for the page's own files, which say nothing about anybody."""
    return path == "/" or path.startswith(PREFIX)


def _file(name: str, content: bytes) -> Response:
    return Response(content, media_type=_KINDS[PurePath(name).suffix], headers=_HEADERS)
