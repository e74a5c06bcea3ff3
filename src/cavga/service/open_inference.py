"""The Open Inference Protocol, version 2, over HTTP: what clients of Triton and KServe speak."""

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from fastapi import APIRouter
from numpy.typing import NDArray
from starlette.requests import Request
from starlette.responses import Response

from cavga._version import __version__
from cavga.inference.prediction import Prediction
from cavga.inference.prepare import FileContent
from cavga.service.refusals import unusable
from cavga.service.schemas import ProtocolProblem, problems
from cavga.service.scoring import SHORT, Scorer
from cavga.service.tensors import FILES, LENGTH_HEADER, OUTPUTS, PHOTOGRAPHS, InferRequest, answer_body, read_request

VERSION = "1"  # of every model: a new one has a new name
_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {"type": "object", "required": ["inputs"], "properties": {"inputs": {"type": "array"}}},
            "example": {
                "inputs": [{"name": FILES, "datatype": "BYTES", "shape": [1], "data": ["iVBORw0KGgo="]}],
                "outputs": [{"name": "score"}, {"name": "is_anomalous"}],
            },
        },
        "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
    },
}
_WHERE = ("/v2/models/{name}", "/v2/models/{name}/versions/{version}")


def protocol_routes(scorer: Scorer) -> APIRouter:
    """The routes below /v2."""
    router = APIRouter(prefix="", responses=problems(ProtocolProblem))

    @router.get("/v2", name="server")
    async def server() -> dict[str, Any]:
        """What this server is."""
        return {"name": "cavga", "version": __version__, "extensions": ["binary_tensor_data"]}

    @router.get("/v2/health/live", name="live")
    async def live() -> dict[str, bool]:
        """Whether the server runs."""
        return {"live": True}

    @router.get("/v2/health/ready", name="ready")
    async def ready() -> dict[str, bool]:
        """Whether the server takes requests: every model was loaded before it listened."""
        return {"ready": True}

    _model_routes(router, scorer)
    return router


def _model_routes(router: APIRouter, scorer: Scorer) -> None:
    def known(name: str, version: str) -> None:
        if name not in scorer.shelf.paths or version != VERSION:
            raise unusable(f"no model {name[:80]!r} of version {version[:20]!r} here", "unknown_model", 404)

    async def ready(name: str, version: str = VERSION) -> dict[str, Any]:
        """Whether a model can be asked; one that is not in memory is loaded when it is."""
        known(name, version)
        return {"name": name, "ready": True}

    async def described(name: str, version: str = VERSION) -> dict[str, Any]:
        """Inputs and outputs of a model."""
        known(name, version)
        return _metadata(name)

    async def infer(request: Request, name: str, version: str = VERSION) -> Response:
        """Score photographs: a tensor of pixels, or image files."""
        known(name, version)
        return await _infer(scorer, request, name)

    for where, suffix in zip(_WHERE, ("", "_of_version"), strict=True):
        router.add_api_route(where, described, methods=["GET"], name=f"model{suffix}")
        router.add_api_route(f"{where}/ready", ready, methods=["GET"], name=f"model_ready{suffix}")
        router.add_api_route(
            f"{where}/infer", infer, methods=["POST"], name=f"infer{suffix}", openapi_extra={"requestBody": _BODY},
            responses={200: {"content": {"application/octet-stream": {}}}},
        )  # fmt: skip


def _metadata(name: str) -> dict[str, Any]:
    shapes = {"score": [-1], "is_anomalous": [-1], "anomaly_map": [-1, -1, -1], "mask": [-1, -1, -1]}
    return {
        "name": name,
        "versions": [VERSION],
        "platform": "cavga",
        "inputs": [{"name": PHOTOGRAPHS, "datatype": "UINT8", "shape": [-1, -1, -1, 3]}],
        "outputs": [{"name": output, "datatype": kind, "shape": shapes[output]} for output, kind in OUTPUTS.items()],
    }


async def _infer(scorer: Scorer, request: Request, name: str) -> Response:
    body, length = await request.body(), request.headers.get(LENGTH_HEADER)
    read = partial(read_request, body, length, scorer.settings.max_pixels)
    is_short = length is not None or len(body) <= SHORT  # what is binary is not parsed
    asked = read() if is_short else await scorer.in_thread(read)
    sources: list[FileContent | NDArray[np.uint8]] = [*asked.photographs]
    sources += (FileContent(content, f"{FILES} {i}") for i, content in enumerate(asked.files))
    predictions = await scorer.predictions(name, sources, request.scope["visit"])
    answer = partial(_answer, asked, name, predictions)
    has_maps = not {"anomaly_map", "mask"}.isdisjoint(asked.outputs)
    content, headers, media_type = await scorer.in_thread(answer) if has_maps else answer()
    return Response(content, headers=headers, media_type=media_type)


def _answer(asked: InferRequest, name: str, predictions: list[Prediction]) -> tuple[bytes, dict[str, str], str]:
    cut = asked.threshold
    judged = [p if cut is None else replace(p, threshold=cut, is_anomalous=p.score >= cut) for p in predictions]
    tensors: dict[str, NDArray[Any]] = {
        "score": np.array([p.score for p in judged]),
        "is_anomalous": np.array([p.is_anomalous for p in judged]),
    }
    if {"anomaly_map", "mask"} & asked.outputs.keys():
        if len({p.anomaly_map.shape for p in judged}) > 1:
            raise unusable("maps of several sizes are no tensor: ask for other outputs, or one image", "tensor", 400)
        tensors["anomaly_map"] = np.stack([p.anomaly_map for p in judged])
        tensors["mask"] = np.stack([p.mask for p in judged])
    return answer_body(asked, name, tensors)
