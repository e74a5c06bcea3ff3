"""What the page's requests hold, as JSON."""

from typing import Annotated, Any, Literal

import msgspec
from starlette.requests import Request

from cavga.service.refusals import unusable
from cavga.service.uploads import content_type, json_body

Rate = Annotated[float, msgspec.Meta(gt=0, lt=1)]


class NewProject(msgspec.Struct, forbid_unknown_fields=True):
    """A project to make."""

    name: str


class CopyFolder(msgspec.Struct, forbid_unknown_fields=True):
    """Photographs of a folder below the projects folder."""

    set: str
    folder: str


class RemovePhotographs(msgspec.Struct, forbid_unknown_fields=True):
    """Photographs to take out of a set."""

    set: str
    names: list[str]


class Train(msgspec.Struct, forbid_unknown_fields=True):
    """How to train; what is not given is the default of `cavga train`."""

    variant: Literal["r-s", "r-u"] | None = None
    encoder: str | None = None
    image_size: str | None = None
    false_alarm_rate: Rate | None = None
    resume: bool = False

    def settings(self) -> dict[str, dict[str, Any]]:
        """As a configuration takes them."""
        sections: dict[str, dict[str, Any]] = {
            "model": {"variant": self.variant, "encoder": self.encoder},
            "data": {"image_size": self.image_size},
            "calibration": {"false_alarm_rate": self.false_alarm_rate},
        }
        return {name: {k: v for k, v in values.items() if v is not None} for name, values in sections.items()}


class Refit(msgspec.Struct, forbid_unknown_fields=True):
    """How to refit."""

    force: bool = False


class SetMark(msgspec.Struct, forbid_unknown_fields=True):
    """What is said of a photograph; None takes it back."""

    name: str
    label: Literal["good", "bad"] | None
    type: str = ""


class UseVersion(msgspec.Struct, forbid_unknown_fields=True):
    """A run, a version of the run in use, or both."""

    run: str | None = None
    number: str | None = None


class SetRate(msgspec.Struct, forbid_unknown_fields=True):
    """An operating point: one of the two."""

    false_alarm_rate: Rate | None = None
    threshold: float | None = None


async def body_of(request: Request, schema: type[Any]) -> Any:
    """A request's JSON; raises RefusedError."""
    if content_type(request.headers) != "application/json":
        raise unusable("expected the content type application/json", "content_type", 415)
    return json_body(await request.body(), schema)
