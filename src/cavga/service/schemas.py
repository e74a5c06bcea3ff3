"""What requests and answers look like, for the OpenAPI description."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

BOX_EXAMPLE = [412, 96, 38, 21]
PREDICTION_EXAMPLE: dict[str, Any] = {
    "model": "screw",
    "request_id": "7f2c0f0f5c2b4a0c9d3c5f1f0a4b9d11",
    "path": "part-0017.png",
    "score": 3.62,
    "threshold": 2.91,
    "is_anomalous": True,
    "p_value": 0.0099,
    "milliseconds": 21.4,
    "num_regions": 1,
    "regions": [
        {
            "box": BOX_EXAMPLE,
            "polygon": [[412, 96], [450, 96], [450, 117], [412, 117]],
            "area": 798.0,
            "score": 4.1,
            "below_image_threshold": False,
        }
    ],
    "image_size": [1024, 1024],
}
_SHORT_PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="


class Problem(BaseModel):
    """Why a request was not answered: `reason` for programs, `message` for people."""

    status: int
    reason: str
    message: str
    request_id: str


class ProblemAnswer(BaseModel):
    """Every answer that is not 200, but below /v2."""

    error: Problem


class ProtocolProblem(BaseModel):
    """Every answer that is not 200 below /v2, as the Open Inference Protocol says it."""

    error: str


class RegionAnswer(BaseModel):
    """One region of the mask, in pixels of the photograph."""

    box: list[int] = Field(description="x, y, width, height")
    polygon: list[list[int]] = Field(description="corners (x, y), clockwise")
    area: float
    score: float = Field(description="largest value of the map in it")
    below_image_threshold: bool


class PredictionAnswer(BaseModel):
    """The fields of predictions.jsonl, and what was asked for beside them."""

    model_config = ConfigDict(json_schema_extra={"example": PREDICTION_EXAMPLE})

    model: str
    request_id: str
    path: str = Field(description="what the sender calls the photograph")
    score: float
    threshold: float
    is_anomalous: bool = Field(description="score >= threshold")
    p_value: float | None = Field(description="how rare such a score is among good photographs")
    milliseconds: float
    num_regions: int
    regions: list[RegionAnswer]
    image_size: list[int] = Field(description="height and width of the photograph")
    remarks: list[str] = Field(default=[], description="what is to be said of how the file was read")
    overlay_png: str = Field(default="", description="base64, with ?overlay=true")
    map_png: str = Field(default="", description="base64, with ?map=png: 16-bit greys on the model's scale")
    map_npy: str = Field(default="", description="base64, with ?map=npy: float32")


class ModelAnswer(BaseModel):
    """One model of this server."""

    name: str
    is_loaded: bool
    input_size: list[int] | None = Field(description="height and width of its input, if it is loaded")
    image_threshold: float | None
    pixel_threshold: float | None


class ModelsAnswer(BaseModel):
    """The models of this server; the first one answers /predict."""

    models: list[ModelAnswer]


PREDICT_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["image"],
                "properties": {
                    "image": {"type": "string", "format": "binary", "description": "an image file"},
                    "threshold": {"type": "number", "description": "in place of the model's"},
                },
            }
        },
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["image"],
                "additionalProperties": False,
                "properties": {
                    "image": {"type": "string", "description": "an image file in base64"},
                    "threshold": {"type": ["number", "null"], "description": "in place of the model's"},
                    "name": {"type": "string", "description": "what to call it in the answer"},
                },
            },
            "example": {"image": _SHORT_PNG, "threshold": 2.5, "name": "part-0017.png"},
        },
    },
}

_PROBLEMS = {
    400: "the request cannot be read",
    401: "the token is missing or another one",
    403: "another site's page, or another name of this machine",
    404: "no such model or page",
    408: "the body came too slowly",
    413: "the body or the photograph is too large",
    415: "another content type than expected",
    422: "what was sent is no photograph, or not what is expected here",
    503: "too much to do, or not done in time: try again after Retry-After",
}


def problems(kind: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    """The answers that every request may have beside its own."""
    return {status: {"model": kind, "description": text} for status, text in _PROBLEMS.items()}
