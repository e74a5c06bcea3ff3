"""What a request's body holds: the bytes of a photograph's file and how it is to be judged."""

import base64
import binascii
import math
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import msgspec
from starlette.datastructures import FormData, Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from cavga.images.opening import ImageFileError, naming, open_image
from cavga.inference.prepare import FileContent
from cavga.service.refusals import unusable
from cavga.structured_files import StructureError, parse_json

FIELD = "image"
_MAX_FIELDS = 8
_LONGEST_NAME = 200  # characters


@dataclass(frozen=True, eq=False)
class Upload:
    """A photograph to be scored; `threshold` in place of the model's, `name` is what its sender calls it."""

    content: bytes
    name: str = ""
    threshold: float | None = None


class _JsonBody(msgspec.Struct, forbid_unknown_fields=True):
    image: str
    threshold: float | None = None
    name: str = ""


def content_type(headers: Headers) -> str:
    """What a body is, without parameters, in lower case."""
    return headers.get("content-type", "").partition(";")[0].strip().lower()


async def form_upload(headers: Headers, body: bytes) -> Upload:
    """The photograph of multipart/form-data; raises RefusedError."""

    async def stream() -> AsyncGenerator[bytes, None]:
        yield body

    parser = MultiPartParser(headers, stream(), max_files=1, max_fields=_MAX_FIELDS)
    parser.spool_max_size = len(body) + 1  # nothing goes to a disk
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise unusable(f"the form cannot be read: {error.message}", "form", 400) from None
    file = form.get(FIELD)
    if not isinstance(file, UploadFile):
        raise unusable(f"the form has no file called {FIELD!r}", "form")
    content = await file.read()
    await file.close()
    return Upload(content, file.filename or "", _threshold_of(form))


def json_upload(body: bytes) -> Upload:
    """The photograph of JSON; raises RefusedError."""
    found = json_body(body, _JsonBody)
    threshold = None if found.threshold is None else finite(found.threshold)
    return Upload(decoded_base64(found.image, FIELD), found.name, threshold)


def check_size(content: bytes, name: str, max_pixels: int) -> None:
    """Refuse what is no image, by its header alone, or has more pixels than are taken here."""
    path = Path(name)
    try:
        with naming(path):
            width, height = open_image(BytesIO(content), path).size
    except ImageFileError as error:
        if error.is_too_large:
            raise unusable(str(error), "pixels", 413) from None
        raise unusable(str(error), "image") from None
    if width * height > max_pixels:
        message = f"{name}: has {width} x {height} px, more than {max_pixels / 1e6:g} million"
        raise unusable(message, "pixels", 413)


def decoded_base64(text: str, what: str) -> bytes:
    """The bytes of a text in base64, which may begin as a data URL does; raises RefusedError."""
    payload = text.partition(",")[2] if text.startswith("data:") else text
    try:
        return base64.b64decode(payload, validate=True)
    except (binascii.Error, ValueError):
        raise unusable(f"{what}: expected base64", "base64") from None


def file_content(upload: Upload) -> FileContent:
    """As the detector takes it."""
    return FileContent(upload.content, shown_name(upload.name))


def shown_name(name: str) -> str:
    """What messages call a photograph; its sender's name is a label here and never a path."""
    return name[:_LONGEST_NAME] or FIELD


def _threshold_of(form: FormData) -> float | None:
    text = form.get("threshold")
    if text is None or text == "":
        return None
    try:
        return finite(float(text))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise unusable(f"threshold: expected a number, got {str(text)[:40]!r}", "threshold") from None


def finite(threshold: float) -> float:
    """A threshold as it is; raises RefusedError for one that is no finite number."""
    if not math.isfinite(threshold):
        raise unusable("threshold: expected a finite number", "threshold")
    return threshold


def json_body(body: bytes, schema: type[Any]) -> Any:
    """A body of JSON as what `schema` says; raises RefusedError."""
    try:
        return parse_json(body, schema)
    except StructureError as error:
        raise unusable(f"the body is not the JSON that is expected here: {error}", "json") from None
