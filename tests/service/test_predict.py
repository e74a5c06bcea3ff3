"""POST /predict and what belongs to it, of a real server."""

import base64
import json
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from cavga.inference.detector import AnomalyDetector
from tests.conftest import GOLDEN, texture
from tests.service.running import png, running


@pytest.fixture(scope="module")
def detector():
    return AnomalyDetector.load(GOLDEN)


def test_a_form_is_scored_as_predict_scores_a_file(server, detector, spot, tmp_path):
    (tmp_path / "part.png").write_bytes(spot)
    expected = detector(tmp_path / "part.png").to_dict()
    response = server.predict(spot)
    answer = response.json()
    assert response.status_code == 200
    assert answer["score"] == pytest.approx(expected["score"], rel=1e-6)
    assert (answer["model"], answer["path"]) == ("part", "part.png")
    assert answer["regions"] == json.loads(json.dumps(expected["regions"]))
    assert answer["image_size"] == [48, 48]
    same = ("threshold", "is_anomalous", "p_value", "num_regions")
    assert {name: answer[name] for name in same} == {name: expected[name] for name in same}


def test_json_is_the_same_as_a_form(server, spot):
    body = {"image": base64.b64encode(spot).decode(), "name": "part.png"}
    left_out = ("milliseconds", "request_id")
    answers = [server.client.post("/predict", json=body).json(), server.predict(spot).json()]
    of_json, of_form = ({k: v for k, v in answer.items() if k not in left_out} for answer in answers)
    assert of_json == of_form


@pytest.mark.parametrize("where", ["/models/part/predict", "/models/file/predict"])
def test_a_model_is_asked_by_its_name(server, spot, where):
    answer = server.predict(spot, where=where).json()
    assert answer["model"] == where.split("/")[2]


def test_a_threshold_of_the_request_decides(server, spot):
    score = server.predict(spot).json()["score"]
    for threshold, is_anomalous in ((score - 1, True), (score + 1, False)):
        answer = server.predict(spot, threshold=str(threshold)).json()
        assert (answer["is_anomalous"], answer["threshold"]) == (is_anomalous, threshold)
        assert all(region["below_image_threshold"] is not is_anomalous for region in answer["regions"])


def test_pictures_and_maps_come_when_they_are_asked_for(server, detector, spot, photograph):
    expected = detector(np.asarray(Image.open(BytesIO(spot))))
    answer = server.predict(spot, where="/predict?overlay=true&map=npy").json()
    values = np.load(BytesIO(base64.b64decode(answer["map_npy"])))
    np.testing.assert_allclose(values, expected.anomaly_map, rtol=1e-5)
    overlay = np.asarray(Image.open(BytesIO(base64.b64decode(answer["overlay_png"]))))
    np.testing.assert_array_equal(overlay, np.asarray(expected.overlay()))
    greys = Image.open(BytesIO(base64.b64decode(server.predict(spot, where="/predict?map=png").json()["map_png"])))
    assert (greys.mode, greys.size) == ("I;16", (32, 32))
    picture = server.predict(spot, headers={"Accept": "image/png"})
    assert picture.headers["content-type"] == "image/png"
    np.testing.assert_array_equal(np.asarray(Image.open(BytesIO(picture.content))), overlay)


def test_many_at_once_each_have_their_own_answer(server, detector):
    photographs = [png(texture(seed)) for seed in range(24)]
    expected = [detector(np.asarray(Image.open(BytesIO(content)))).score for content in photographs]
    with ThreadPoolExecutor(8) as pool:
        answers = [response.json() for response in pool.map(server.predict, photographs)]
    assert [answer["score"] for answer in answers] == pytest.approx(expected, rel=1e-5)
    assert len({answer["request_id"] for answer in answers}) == len(answers)


def test_a_request_keeps_its_id(server, spot, caplog):
    with caplog.at_level("INFO", "cavga"):
        response = server.predict(spot, headers={"X-Request-Id": "line-3.part-17"})
    assert response.headers["x-request-id"] == response.json()["request_id"] == "line-3.part-17"
    assert any(record.getMessage().startswith("line-3.part-17 POST /predict 200") for record in caplog.records)
    other = server.predict(spot, headers={"X-Request-Id": "two words"})
    assert other.headers["x-request-id"] != "two words"


def test_models_are_listed(server):
    models = server.client.get("/models").json()["models"]
    assert [(model["name"], model["is_loaded"], model["input_size"]) for model in models] == [
        ("part", True, [32, 32]),
        ("file", True, [32, 32]),
    ]


def test_the_least_recently_used_model_is_put_away(spot):
    with running({name: GOLDEN for name in "abc"}, max_models=2) as server:
        loaded = lambda: {name for name in "abc" if server.shelf.loaded(name)}  # noqa: E731
        assert loaded() == {"a", "b"}
        for name, expected in (("b", "ab"), ("c", "bc"), ("b", "bc"), ("a", "ab")):
            assert server.predict(spot, where=f"/models/{name}/predict").status_code == 200
            assert loaded() == set(expected)


def test_metrics_count_what_happened(spot, good):
    with running({"part": GOLDEN}) as server:
        for content in (spot, good, good, b"no picture"):
            server.predict(content)
        lines = server.client.get("/metrics").text.splitlines()
    values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    assert values['cavga_requests_total{model="part",status="200"}'] == "3.0"
    assert values['cavga_refused_total{reason="image"}'] == "1.0"
    assert values['cavga_images_total{is_anomalous="true",model="part"}'] == "1.0"
    assert values['cavga_request_seconds_count{model="part"}'] == "3.0"
    assert values['cavga_batch_size_count{model="part"}'] == "3.0"
    assert values['cavga_queue_length{model="part"}'] == "0.0"
    assert values['cavga_score_drift_images{model="part"}'] == "3.0"


def test_the_description_has_examples_and_needs_no_other_host(server):
    found = server.client.get("/openapi.json").json()
    assert {"/predict", "/models/{name}/predict", "/v2/models/{name}/infer", "/metrics"} <= found["paths"].keys()
    body = found["paths"]["/predict"]["post"]["requestBody"]["content"]
    assert set(body) == {"multipart/form-data", "application/json"}
    assert body["application/json"]["example"]["image"]
    assert found["components"]["schemas"]["PredictionAnswer"]["example"]["regions"]
    assert server.client.get("/docs").status_code == 404
