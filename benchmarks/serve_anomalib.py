"""anomalib's side of `serve.py`; runs in anomalib's environment, without cavga. Random weights.

Its own PaDiM, written by its own exporter, in its own OpenVINOInferencer, behind FastAPI as a first page of its manual
would have it: one route that decodes, predicts and answers. The inferencer holds one request at a time, so the route is
one that nothing else runs beside. The photograph is brought to the graph's size by Pillow.
"""

import os
import tempfile
from importlib.metadata import version
from io import BytesIO
from pathlib import Path

import numpy as np
import uvicorn
from deployment_anomalib import SIZE, padim
from fastapi import FastAPI, UploadFile
from PIL import Image


def app_of(folder: Path) -> FastAPI:
    """The app of a model that is written into a folder first."""
    from anomalib.deploy import OpenVINOInferencer

    os.chdir(folder)  # where the inferencer puts its cache
    inferencer = OpenVINOInferencer(padim().eval().to_onnx(folder, input_size=SIZE), device="CPU")
    app = FastAPI()

    @app.post("/predict")
    async def predict(image: UploadFile) -> dict[str, float | bool]:
        picture = Image.open(BytesIO(await image.read())).convert("RGB").resize(SIZE)
        found = inferencer.predict(np.asarray(picture))
        return {"score": float(np.ravel(found.pred_score)[0]), "is_anomalous": bool(np.ravel(found.pred_label)[0])}

    @app.get("/versions")
    async def versions() -> dict[str, str]:
        return {name: version(name) for name in ("anomalib", "openvino", "torch", "fastapi", "uvicorn")}

    return app


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        uvicorn.run(app_of(Path(place)), port=0, access_log=False)
