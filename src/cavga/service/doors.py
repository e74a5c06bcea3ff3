"""Who and what comes in: sites, tokens, sizes, times. All of it is checked before a request is worked on."""

import asyncio
import hmac
import ipaddress
import logging
import re
import uuid
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cavga.service.meters import Meters
from cavga.service.page_files import is_of_page
from cavga.service.refusals import RefusedError, Visit, internal, overloaded, refusal_response, unusable
from cavga.service.settings import ServiceSettings

logger = logging.getLogger("cavga")

OPEN_PATHS = frozenset({"/v2/health/live", "/v2/health/ready"})  # asked by what starts and watches servers
SAME_SITE = ("same-origin", "none")  # of Sec-Fetch-Site: this server's page, or typed by a person
BODIES_HELD = 8  # times the largest body: what all bodies that are held may have together
SECONDS_OF_DISCARDING = 2.0  # how long a body is still taken that nobody reads, so that its sender hears why
_HEADERS = ((b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store"))
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Doors:
    """An ASGI app in front of another: what it lets in has a `Visit`, and a body that has come whole."""

    def __init__(self, app: ASGIApp, settings: ServiceSettings, meters: Meters) -> None:
        self._app, self._settings, self._meters = app, settings, meters
        self._in_flight = self._bytes_held = 0
        self._hosts = {"localhost", settings.host.lower()}
        meters.in_flight.set_function(lambda: self._in_flight)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or the server's start and end."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        visit = Visit(given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex, asyncio.get_running_loop().time())
        scope["visit"] = visit
        answer, incoming = _Answer(send, visit.id), _Incoming(receive, headers)
        try:
            self._check_sender(scope["path"], headers)
            if scope["method"] == "POST":
                await self._work_on(scope, headers, incoming, answer)
            else:
                await self._app(scope, receive, answer)
        except RefusedError as refused:
            await self._refuse(refused, scope, incoming, answer)
        except Exception as error:
            logger.error("request %s: %s: %s", visit.id, type(error).__name__, error, exc_info=error)
            if not answer.status:
                await refusal_response(internal(), scope)(scope, receive, answer)
        self._note(scope, visit, answer.status)

    def _check_sender(self, path: str, headers: Headers) -> None:
        """Refuse who may not come in: another site's page, another name of this machine, no token."""
        site, origin, host = headers.get("sec-fetch-site"), headers.get("origin"), headers.get("host", "")
        is_foreign = origin is not None and origin.partition("//")[2].lower() != host.lower()
        if is_foreign or (site is not None and site not in SAME_SITE):
            raise unusable("requests of other sites' pages are not answered", "cross_site", 403)
        if self._settings.token is not None:
            is_open = path in OPEN_PATHS or (self._settings.projects is not None and is_of_page(path))
            if not is_open and not self._has_token(headers, self._settings.token):
                raise unusable("expected the header 'Authorization: Bearer TOKEN' of this server", "token", 401)
        elif not self._is_own_host(host):  # a name that a page made point here
            raise unusable("the header Host names another machine; use this one's address", "host", 403)

    def _has_token(self, headers: Headers, token: str) -> bool:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        return hmac.compare_digest(given.strip().encode(), token.encode()) and scheme.lower() == "bearer"

    def _is_own_host(self, host: str) -> bool:
        try:
            name = (urlsplit(f"//{host}").hostname or "").lower()
            return name in self._hosts or bool(ipaddress.ip_address(name))
        except ValueError:
            return False

    async def _work_on(self, scope: Scope, headers: Headers, incoming: "_Incoming", answer: "_Answer") -> None:
        if self._in_flight >= self._settings.queue:
            raise overloaded(f"{self._in_flight} requests are being worked on, which is the limit")
        self._in_flight += 1
        held = 0
        try:
            body = await self._body(headers, incoming, scope["visit"])
            held = len(body)
            await self._app(scope, incoming.whole(body), answer)
        finally:
            self._in_flight -= 1
            self._bytes_held -= held

    async def _body(self, headers: Headers, incoming: "_Incoming", visit: Visit) -> bytes:
        """The whole body; what is held of it counts until the request is answered."""
        most, seconds = self._settings.max_body_bytes, self._settings.deadline
        if headers.get("content-encoding", "identity").lower() != "identity":
            raise unusable("a packed body (Content-Encoding) is not taken; send it as it is", "content_encoding", 415)
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length) > most:
            raise _too_long(most)
        body = bytearray()
        try:
            async with asyncio.timeout_at(visit.started + seconds):
                async for chunk in incoming.chunks():
                    if len(body) + len(chunk) > most:
                        raise _too_long(most)
                    if self._bytes_held + len(chunk) > BODIES_HELD * most:
                        raise overloaded("the bodies of the requests at work fill what memory there is for them")
                    body += chunk
                    self._bytes_held += len(chunk)
            return bytes(body)
        except BaseException as error:
            self._bytes_held -= len(body)
            if isinstance(error, TimeoutError):
                raise unusable(f"the body did not come within {seconds:g} s", "slow_request", 408) from None
            raise

    async def _refuse(self, refused: RefusedError, scope: Scope, incoming: "_Incoming", answer: "_Answer") -> None:
        """Answer a request whose body may still be coming; what does not end is cut off."""
        if refused.status != 408:
            await incoming.discard()
        response = refusal_response(refused, scope)
        if not incoming.is_over:
            response.headers["connection"] = "close"
        await response(scope, incoming.receive, answer)

    def _note(self, scope: Scope, visit: Visit, status: int) -> None:
        seconds = asyncio.get_running_loop().time() - visit.started
        self._meters.requests.labels(visit.model, str(status)).inc()
        if visit.refused:
            self._meters.refused.labels(visit.refused).inc()
        elif visit.model:
            self._meters.seconds.labels(visit.model).observe(seconds)
        what = visit.refused or visit.model
        level = logging.DEBUG if scope["method"] == "GET" and not visit.refused else logging.INFO  # a page asks often
        line = "%s %s %s %d %.1f ms %s"
        logger.log(level, line, visit.id, scope["method"], scope["path"], status, 1000 * seconds, what)


class _Answer:
    """Passes an answer on, with the request's id, and remembers its status."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send, self._id, self.status = send, request_id.encode(), 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message = {**message, "headers": [*message.get("headers", ()), (b"x-request-id", self._id), *_HEADERS]}
        await self._send(message)


class _Incoming:
    """A request's body as it comes; knows whether all of it was taken."""

    def __init__(self, receive: Receive, headers: Headers) -> None:
        self.receive = receive
        self.is_over = not ("content-length" in headers or "transfer-encoding" in headers)
        self._is_asked_for = headers.get("expect", "").lower() == "100-continue"

    async def chunks(self) -> AsyncIterator[bytes]:
        """Its pieces; a sender that has gone ends them as a refusal that nobody hears."""
        while True:
            message = await self.receive()
            self.is_over = not message.get("more_body", False)
            if message["type"] == "http.disconnect":
                raise unusable("the sender has gone", "disconnected", 400)
            yield message.get("body", b"")
            if self.is_over:
                return

    async def discard(self) -> None:
        """Take what is left without keeping it: who is still sending would not hear the answer."""
        if self.is_over or self._is_asked_for:  # who asks before sending sends nothing once refused
            return
        try:
            async with asyncio.timeout(SECONDS_OF_DISCARDING):
                async for _ in self.chunks():
                    pass
        except (TimeoutError, RefusedError):
            pass

    def whole(self, body: bytes) -> Receive:
        """A body that has come whole, as an app asks for it."""
        waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def given() -> Message:
            return waiting.pop() if waiting else await self.receive()

        return given


def _too_long(most: int) -> RefusedError:
    return unusable(f"the body has more than {most / 2**20:g} MiB, which is the limit", "body_size", 413)
