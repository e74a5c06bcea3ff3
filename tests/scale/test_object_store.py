"""Parts in an object store: a local S3 server, and a writer that is killed in the middle."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import fsspec
import pytest
from moto.server import ThreadedMotoServer

from tests.scale.conftest import keys_of, rows_of

WRITER = """
import sys, time
from pathlib import Path
from cavga.inference.detector import AnomalyDetector
from cavga.scale import score_lists as scoring
from cavga.scale.work_list import WHOLE

model, source, output, seconds = sys.argv[1:]
commit = scoring.PartStore.commit

def slow(self, *rows):
    time.sleep(float(seconds))  # so that it can be killed in the middle
    return commit(self, *rows)

scoring.PartStore.commit = slow
scorer = scoring.OneModel(AnomalyDetector.load(model, device="cpu"))
summary = scoring.score_shard(scorer, source, output, shard=WHOLE, part_size=10)
print(summary.done_before)
"""


@pytest.fixture
def bucket(photographs, monkeypatch) -> Iterator[str]:
    """A bucket with the photographs, on a server of its own."""
    server = ThreadedMotoServer(port=0)
    server.start()
    host, port = server.get_host_and_port()
    known = {"AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x",
             "AWS_DEFAULT_REGION": "us-east-1"}  # fmt: skip
    for name, value in known.items():
        monkeypatch.setenv(name, value)
    system = fsspec.filesystem("s3", skip_instance_cache=True)
    system.mkdir("plant")
    system.put(str(photographs), "plant/line", recursive=True)
    yield "s3://plant"
    server.stop()


@pytest.mark.filterwarnings("ignore")  # of botocore and its sessions
def test_a_writer_that_is_killed_is_gone_on_with_and_every_image_is_there_once(exported_model, photographs, bucket):
    command = [sys.executable, "-c", WRITER, exported_model, f"{bucket}/line", f"{bucket}/scores"]
    system = fsspec.filesystem("s3", skip_instance_cache=True, use_listings_cache=False)
    with subprocess.Popen([*command, "0.5"], env=os.environ) as writer:
        deadline = time.monotonic() + 120
        while len(system.glob("plant/scores/*/*.done")) < 2 and time.monotonic() < deadline:
            time.sleep(0.1)
        writer.kill()
    assert 20 <= len(rows_of(f"{bucket}/scores")) < 60
    system.pipe_file("plant/scores/shard-00000-of-00001/0123.parquet", b"begun and not ended")
    done = subprocess.run([*command, "0"], capture_output=True, text=True, check=True, env=os.environ)
    assert int(done.stdout) >= 20
    assert sorted(row["path"] for row in rows_of(f"{bucket}/scores")) == keys_of(photographs)
