"""The page's routes of what is inspected: scores, maps, marks, downloads."""

from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal
from urllib.parse import quote

import numpy as np
from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from cavga.inference.detector import AnomalyDetector
from cavga.projects.downloads import OverlayArchive, exported_model, table_bytes
from cavga.projects.inspection import map_of, version_of
from cavga.projects.learning import marks_of, normal_scores, set_mark
from cavga.projects.project import INSPECT, NotThereError, Project, images_below
from cavga.rendering.heatmaps import HEAT_COLOURS, MAX_TINT, TINT_START
from cavga.rendering.scale import picture_scale
from cavga.service.project_bodies import SetMark, body_of
from cavga.service.project_routes import answer, project_router
from cavga.service.refusals import RefusedError
from cavga.service.workbench import Workbench

_Only = Annotated[Literal["all", "anomalous", "normal", "marked"], Query()]


def inspection_routes(bench: Workbench) -> APIRouter:
    """What is inspected, and what is said of it."""
    router = project_router()

    @router.get("/projects/{name}/inspection")
    async def inspection(name: str) -> Response:
        project = bench.projects.named(name)
        found = bench.inspection(project)
        missing = await bench.heavy(found.missing)
        if missing and not found.problem:
            bench.score_missing(project)
        scale = None if project.run() is None else await bench.with_model(project, _scale)
        scoring = {
            "is_running": bench.is_scoring(project), "num_done": found.num_done, "num_all": found.num_all,
            "problem": found.problem,
        }  # fmt: skip
        rows = await bench.heavy(_rows, bench, project)
        return answer({"photographs": rows, "scoring": scoring, "version": version_of(project), **(scale or {})})

    @router.post("/projects/{name}/inspection")
    async def score(name: str) -> Response:
        project = bench.projects.named(name)
        bench.inspection(project).problem = ""
        bench.score_missing(project)
        return answer({})

    _photograph_routes(router, bench)
    _download_routes(router, bench)
    return router


def _photograph_routes(router: APIRouter, bench: Workbench) -> None:
    @router.get("/projects/{name}/map")
    async def anomaly_map(name: str, file: str) -> Response:
        project = bench.projects.named(name)
        path = await bench.heavy(project.photograph, INSPECT, file)
        values = await bench.with_model(project, map_of, path)
        height, width = values.shape
        return Response(
            np.ascontiguousarray(values, dtype="<f4").tobytes(), media_type="application/octet-stream",
            headers={"x-map-size": f"{height} {width}"},
        )  # fmt: skip

    @router.post("/projects/{name}/marks")
    async def mark(request: Request, name: str) -> Response:
        body: SetMark = await body_of(request, SetMark)
        project = bench.projects.named(name)
        path = await bench.heavy(project.photograph, INSPECT, body.name)
        line = bench.inspection(project).lines().get(body.name)
        if line is None:
            raise NotThereError(f"{body.name} is not scored yet: wait a moment")
        await bench.heavy(set_mark, project, path, line["sha256"], body.label, body.type)
        return answer({"name": body.name, "label": body.label})


def _download_routes(router: APIRouter, bench: Workbench) -> None:
    @router.get("/projects/{name}/predictions.csv")
    async def table(name: str, only: _Only = "all") -> Response:
        project = bench.projects.named(name)
        content = await bench.heavy(table_bytes, await bench.heavy(_chosen, bench, project, only))
        return _file(content, f"{project.name}.csv", "text/csv; charset=utf-8")

    @router.get("/projects/{name}/overlays.zip")
    async def overlays(name: str, only: _Only = "all") -> Response:
        project = bench.projects.named(name)
        project.needed_run()
        lines = await bench.heavy(_chosen, bench, project, only)
        return StreamingResponse(
            _archive(bench, project, lines), media_type="application/zip", headers=_attached(f"{project.name}.zip")
        )

    @router.get("/projects/{name}/model.onnx")
    async def model(name: str) -> Response:
        file_name, content = await bench.heavy(exported_model, bench.projects.named(name))
        return _file(content, file_name, "application/octet-stream")


async def _archive(bench: Workbench, project: Project, lines: dict[str, dict[str, Any]]) -> AsyncIterator[bytes]:
    archive, there = OverlayArchive(), images_below(project.inspect, project.root)
    for name in sorted(lines):
        if name in there:
            yield await bench.with_model(project, archive.add, name, there[name])
    yield archive.end(lines)


def _chosen(bench: Workbench, project: Project, only: str) -> dict[str, dict[str, Any]]:
    inspection = bench.inspection(project)
    if missing := len(inspection.missing()):
        raise RefusedError(503, "scoring", f"{missing} photographs are not scored yet: ask again when they are")
    lines, run = inspection.lines(), project.run()
    marks = {} if run is None else marks_of(run)
    match only:
        case "marked":
            return {name: line for name, line in lines.items() if line["sha256"] in marks}
        case "anomalous" | "normal":
            return {name: line for name, line in lines.items() if line["is_anomalous"] is (only == "anomalous")}
    return lines


def _rows(bench: Workbench, project: Project) -> list[dict[str, Any]]:
    """Every photograph, with what is known of it."""
    lines, run = bench.inspection(project).lines(), project.run()
    marks = {} if run is None else marks_of(run)
    normal = None if run is None else normal_scores(run)
    rows = []
    for name in images_below(project.inspect, project.root):
        line = lines.get(name)
        known = {} if line is None else {key: line.get(key) for key in ("score", "error", "image_size")}
        score = known.get("score")
        if normal is not None and score is not None:
            known["rarity"] = normal.in_words(score)
        regions = [] if line is None else [region["polygon"] for region in line.get("regions") or ()]
        remarks = [] if line is None else line.get("remarks", [])
        mark = None if line is None else marks.get(line["sha256"])
        rows.append({"name": name, **known, "regions": regions, "remarks": remarks, "mark": mark})
    return rows


def _scale(detector: AnomalyDetector) -> dict[str, Any]:
    """What a browser draws with: as `cavga predict` draws overlays."""
    scale = picture_scale(detector)
    return {
        "threshold": detector.image_threshold,
        "pixel_threshold": detector.pixel_threshold,
        "scale": {"minimum": scale.minimum, "maximum": scale.maximum},
        "heat": {"colours": HEAT_COLOURS, "tint_start": TINT_START, "max_tint": MAX_TINT},
    }


def _file(content: bytes, name: str, kind: str) -> Response:
    return Response(content, media_type=kind, headers=_attached(name))


def _attached(name: str) -> dict[str, str]:
    return {"content-disposition": f"attachment; filename*=utf-8''{quote(name)}"}
