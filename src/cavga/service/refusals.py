"""Why a request is not answered, and the answer that says so."""

from dataclasses import dataclass

from starlette.responses import Response
from starlette.types import Scope

from cavga.inference.lines import as_json
from cavga.printable import printable

RETRY_AFTER = 1  # s: about how long a full queue takes to have room again


class RefusedError(Exception):
    """A request that is turned away: an HTTP status, a reason for programs and metrics, one line for people."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status, self.reason = status, reason

    @property
    def message(self) -> str:
        return printable(str(self))

    def headers(self) -> dict[str, str]:
        """What goes with the status beside the text."""
        if self.status == 503:
            return {"retry-after": str(RETRY_AFTER)}
        return {"www-authenticate": "Bearer"} if self.status == 401 else {}

    def body(self, path: str, request_id: str) -> bytes:
        """One JSON object; the Open Inference Protocol has a form of its own."""
        if path.startswith("/v2"):
            return as_json({"error": self.message})
        found = {"status": self.status, "reason": self.reason, "message": self.message, "request_id": request_id}
        return as_json({"error": found})


@dataclass(eq=False)
class Visit:
    """One request while it is here: its id, when it came, which model it was for, and why it was turned away."""

    id: str
    started: float
    model: str = ""
    refused: str = ""


def refusal_response(refused: RefusedError, scope: Scope) -> Response:
    """The answer to a request that is turned away; its visit remembers why."""
    visit: Visit = scope["visit"]
    visit.refused = refused.reason
    body = refused.body(scope["path"], visit.id)
    return Response(body, refused.status, refused.headers(), "application/json")


def internal() -> RefusedError:
    """What is our own fault."""
    return RefusedError(500, "internal", "something went wrong here; the log of the server says what")


def overloaded(what: str) -> RefusedError:
    """There is no room for one more request."""
    return RefusedError(503, "queue_full", f"{what}; try again in {RETRY_AFTER} s")


def too_late(seconds: float) -> RefusedError:
    """A request that was not answered in time."""
    return RefusedError(503, "deadline", f"not answered within {seconds:g} s, the deadline here; try again later")


def unusable(message: str, reason: str, status: int = 422) -> RefusedError:
    """A request that no second try makes better."""
    return RefusedError(status, reason, message)
