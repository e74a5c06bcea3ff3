"""POST /predict and what belongs to it: models by name, metrics."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from cavga.service.answers import MapKind, Wanted
from cavga.service.schemas import (
    PREDICT_BODY,
    ModelAnswer,
    ModelsAnswer,
    PredictionAnswer,
    ProblemAnswer,
    problems,
)
from cavga.service.scoring import Scorer

PICTURE = "image/png"
_ANSWERS: dict[int | str, dict[str, Any]] = {
    **problems(ProblemAnswer),
    200: {
        "model": PredictionAnswer,
        "content": {PICTURE: {}},
        "description": "the prediction; with the header 'Accept: image/png' the photograph with the anomaly drawn in",
    },
}
_Overlay = Annotated[bool, Query(description="the answer holds the photograph with the anomaly drawn in")]
_Map = Annotated[MapKind | None, Query(description="the answer holds the anomaly map")]


def predict_routes(scorer: Scorer) -> APIRouter:
    """The routes of this service's own protocol."""
    router = APIRouter(responses=problems(ProblemAnswer))

    async def predicted(request: Request, name: str, wanted: Wanted) -> Response:
        upload = await scorer.upload(request.headers, await request.body())
        body = await scorer.answer(name, upload, wanted, request.scope["visit"])
        return Response(body, media_type=PICTURE if wanted.is_picture else "application/json")

    def wanted_by(request: Request, overlay: bool, kind: MapKind | None) -> Wanted:
        is_picture = request.headers.get("accept", "").partition(";")[0].strip() == PICTURE
        return Wanted(overlay, kind, is_picture)

    @router.post("/predict", responses=_ANSWERS, openapi_extra={"requestBody": PREDICT_BODY}, name="predict")
    async def predict(request: Request, overlay: _Overlay = False, map: _Map = None) -> Response:
        """Score one photograph with the first model of this server."""
        return await predicted(request, scorer.shelf.first, wanted_by(request, overlay, map))

    @router.post(
        "/models/{name}/predict", responses=_ANSWERS, openapi_extra={"requestBody": PREDICT_BODY}, name="predict_with"
    )
    async def predict_with(request: Request, name: str, overlay: _Overlay = False, map: _Map = None) -> Response:
        """Score one photograph with a model by its name."""
        return await predicted(request, name, wanted_by(request, overlay, map))

    @router.get("/models", response_model=ModelsAnswer, name="models")
    async def models() -> ModelsAnswer:
        """The models of this server."""
        return ModelsAnswer(models=[_described(scorer, name) for name in scorer.shelf.paths])

    @router.get("/metrics", response_class=Response, name="metrics", responses={200: {"content": {"text/plain": {}}}})
    async def metrics() -> Response:
        """What Prometheus reads."""
        text = await scorer.in_thread(scorer.shelf.meters.text)
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    return router


def _described(scorer: Scorer, name: str) -> ModelAnswer:
    served = scorer.shelf.loaded(name)
    if served is None:
        return ModelAnswer(name=name, is_loaded=False, input_size=None, image_threshold=None, pixel_threshold=None)
    detector = served.detector
    return ModelAnswer(
        name=name,
        is_loaded=True,
        input_size=list(detector.image_size),
        image_threshold=detector.image_threshold,
        pixel_threshold=detector.pixel_threshold,
    )
