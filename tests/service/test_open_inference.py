"""The Open Inference Protocol: a stock client of Triton talks to a real server."""

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from cavga.inference.detector import AnomalyDetector
from tests.conftest import GOLDEN, texture
from tests.service.running import png


@pytest.fixture(scope="module")
def client(server):
    client = triton.InferenceServerClient(server.url.removeprefix("http://"))
    yield client
    client.close()


@pytest.fixture(scope="module")
def batch():
    return np.stack([np.repeat(texture(seed)[..., None], 3, axis=2) for seed in range(3)])


@pytest.fixture(scope="module")
def expected(batch):
    return list(AnomalyDetector.load(GOLDEN).predict(batch))


def test_health_and_metadata(client):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("part")
    assert not client.is_model_ready("other")
    assert client.get_server_metadata()["extensions"] == ["binary_tensor_data"]
    found = client.get_model_metadata("part", "1")
    assert [(one["name"], one["datatype"]) for one in found["inputs"]] == [("photographs", "UINT8")]
    assert [one["name"] for one in found["outputs"]] == ["score", "is_anomalous", "anomaly_map", "mask"]


@pytest.mark.parametrize("sent_binary", [True, False])
@pytest.mark.parametrize("got_binary", [True, False])
def test_a_batch_of_pixels(client, batch, expected, sent_binary, got_binary):
    tensor = triton.InferInput("photographs", list(batch.shape), "UINT8")
    tensor.set_data_from_numpy(batch, binary_data=sent_binary)
    outputs = [
        triton.InferRequestedOutput(name, binary_data=got_binary)
        for name in ("score", "is_anomalous", "anomaly_map", "mask")
    ]
    result = client.infer("part", [tensor], outputs=outputs, request_id="batch-1", model_version="1")
    assert result.get_response()["id"] == "batch-1"
    np.testing.assert_allclose(result.as_numpy("score"), [p.score for p in expected], rtol=1e-5)
    np.testing.assert_array_equal(result.as_numpy("is_anomalous"), [p.is_anomalous for p in expected])
    np.testing.assert_allclose(result.as_numpy("anomaly_map"), [p.anomaly_map for p in expected], rtol=1e-4)
    np.testing.assert_array_equal(result.as_numpy("mask"), [p.mask for p in expected])


def test_image_files(client, spot, good):
    tensor = triton.InferInput("image", [2], "BYTES")
    tensor.set_data_from_numpy(np.array([spot, good], dtype=np.object_))
    result = client.infer("part", [tensor])
    assert result.as_numpy("is_anomalous").tolist() == [True, False]
    assert result.as_numpy("anomaly_map").shape == (2, 32, 32)


def test_a_threshold_is_a_parameter(client, good):
    tensor = triton.InferInput("image", [1], "BYTES")
    tensor.set_data_from_numpy(np.array([good], dtype=np.object_))
    result = client.infer("part", [tensor], parameters={"threshold": -1000.0})
    assert result.as_numpy("is_anomalous").tolist() == [True]


@pytest.mark.parametrize(
    ("name", "values", "datatype", "status"),
    [
        ("other", np.zeros((1, 8, 8, 3), np.uint8), "UINT8", "400"),
        ("photographs", np.zeros((1, 8, 8), np.uint8), "UINT8", "400"),
        ("photographs", np.zeros((65, 8, 8, 3), np.uint8), "UINT8", "413"),
        ("photographs", np.zeros((1, 8, 8, 3), np.float32), "FP32", "400"),
        ("image", np.array([b"no picture"], dtype=np.object_), "BYTES", "422"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(client, name, values, datatype, status):
    tensor = triton.InferInput(name, list(values.shape), datatype)
    tensor.set_data_from_numpy(values)
    with pytest.raises(InferenceServerException) as caught:
        client.infer("part", [tensor])
    assert caught.value.status() == status
    assert "\n" not in caught.value.message()


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"inputs": []},
        {"inputs": [{"name": "photographs", "datatype": "UINT8", "shape": [1, 1, 1, 3], "data": [0, 0, 256]}]},
        {"inputs": [{"name": "photographs", "datatype": "UINT8", "shape": [1, 1, 1, 3], "data": [0, 0, 0.5]}]},
        {"inputs": [{"name": "photographs", "datatype": "UINT8", "shape": [1, 1, 1, 3], "data": [[0], [1, 2]]}]},
        {"inputs": [{"name": "photographs", "datatype": "UINT8", "shape": [10**6, 10**6, 1, 3], "data": [1]}]},
        {"inputs": [{"name": "photographs", "datatype": "UINT8", "shape": [1, 2**62, 2**62, 3], "data": [1]}]},
        {"inputs": [{"name": "image", "datatype": "BYTES", "shape": [1], "data": ["*"]}]},
        {"inputs": [{"name": "image", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": 5}}]},
    ],
)
def test_requests_that_say_something_else(server, body):
    response = server.client.post("/v2/models/part/infer", json=body)
    assert response.status_code in (400, 413, 422)
    assert set(response.json()) == {"error"}


def test_a_file_that_ends_early(server):
    head = (b'{"inputs": [{"name": "image", "datatype": "BYTES", "shape": [1], '
            b'"parameters": {"binary_data_size": 6}}]}')  # fmt: skip
    response = server.client.post(
        "/v2/models/part/infer",
        content=head + b"\xff\xff\0\0ab",
        headers={"Inference-Header-Content-Length": str(len(head))},
    )
    assert response.status_code == 400
    assert "ends within a file" in response.json()["error"]


def test_it_is_the_same_score_by_either_protocol(server, client, spot):
    tensor = triton.InferInput("image", [1], "BYTES")
    tensor.set_data_from_numpy(np.array([spot], dtype=np.object_))
    score = client.infer("part", [tensor]).as_numpy("score")[0]
    assert server.predict(spot).json()["score"] == pytest.approx(score, rel=1e-6)


def test_pixels_are_the_same_as_their_file(client, spot):
    from io import BytesIO

    from PIL import Image

    pixels = np.asarray(Image.open(BytesIO(spot)).convert("RGB"))
    of_pixels = triton.InferInput("photographs", [1, *pixels.shape], "UINT8")
    of_pixels.set_data_from_numpy(pixels[None])
    of_file = triton.InferInput("image", [1], "BYTES")
    of_file.set_data_from_numpy(np.array([png(pixels)], dtype=np.object_))
    scores = [client.infer("part", [tensor]).as_numpy("score")[0] for tensor in (of_pixels, of_file)]
    assert scores[0] == scores[1]
