"""A server that listens: its socket, its patience with slow senders, and its end."""

import asyncio
import logging
import socket
from collections.abc import Callable

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from cavga.errors import UsageError
from cavga.service.app import make_app
from cavga.service.refusals import RefusedError, unusable
from cavga.service.settings import ServiceSettings
from cavga.service.shelf import Shelf

logger = logging.getLogger("cavga")

BACKLOG = 128  # connections that the system holds until they are taken
MAX_CONNECTIONS = 512  # open at once
MAX_HEADER_BYTES = 32 * 1024


class PatientProtocol(H11Protocol):
    """uvicorn's, which would wait for a request's headers for ever, and take any number of connections."""

    patience: float
    _waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A sender has come: its first request has to come soon. Between requests uvicorn closes what is idle."""
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            transport.abort()
            return
        self._waiting = self.loop.call_later(self.patience, self._check_headers)

    def data_received(self, data: bytes) -> None:
        """A request's headers have to be whole soon after they began."""
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._wait_no_more()
        elif self._waiting is None:
            self._waiting = self.loop.call_later(self.patience, self._check_headers)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody is there any more."""
        self._wait_no_more()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """What cannot be read as HTTP is answered as everything else is."""
        self._turn_away(unusable(msg, "http", 400))

    def _wait_no_more(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _check_headers(self) -> None:
        if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
            self._turn_away(unusable(f"no whole request within {self.patience:g} s", "slow_request", 408))

    def _turn_away(self, refused: RefusedError) -> None:
        body = refused.body("", "")
        head = (
            f"HTTP/1.1 {refused.status} {'Bad Request' if refused.status == 400 else 'Request Timeout'}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()


def listening(settings: ServiceSettings) -> socket.socket:
    """The socket of a server; raises UsageError where the address cannot be had."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        bound = socket.create_server((settings.host, settings.port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise UsageError(
            f"cannot listen on {settings.host}, port {settings.port}: {error.strerror or error}; choose another "
            "--host or --port"
        ) from None
    # asyncio sets it on sockets that it makes itself; without, an answer waits 40 ms for its sender's acknowledgement.
    bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return bound


def address(bound: socket.socket) -> str:
    """Where a socket listens, as a browser takes it."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(shelf: Shelf, settings: ServiceSettings, ready: Callable[[str], None]) -> None:
    """Load every model, listen, and answer until SIGINT or SIGTERM; what was accepted by then is answered.

    `ready` is called with the address once the server listens. Raises UsageError for an address that cannot be had,
    and what loading a model raises.
    """
    app = make_app(shelf, settings)
    shelf.load_all()
    with listening(settings) as bound:
        server = server_of(app, settings)
        ready(address(bound))
        try:
            server.run(sockets=[bound])
        except KeyboardInterrupt:  # raised once all is answered, so that who started it knows why it ended
            logger.info("stopped: everything that was accepted is answered")


def server_of(app: ASGIApp, settings: ServiceSettings) -> uvicorn.Server:
    """Uvicorn as it is run here."""
    protocol = type("_Protocol", (PatientProtocol,), {"patience": settings.deadline})
    config = uvicorn.Config(
        app, http=protocol, ws="none", loop="asyncio", lifespan="on", log_config=None, log_level="critical",
        access_log=False, server_header=False, date_header=False, h11_max_incomplete_event_size=MAX_HEADER_BYTES,
        timeout_keep_alive=30, proxy_headers=False,
    )  # fmt: skip
    return uvicorn.Server(config)
