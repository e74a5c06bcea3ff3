"""A real server for tests: in a thread of this process, on a port that is free."""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import httpx
import numpy as np
from PIL import Image

from cavga.service.app import make_app
from cavga.service.meters import Meters
from cavga.service.server import address, listening, server_of
from cavga.service.settings import ServiceSettings
from cavga.service.shelf import Shelf


@dataclass
class Running:
    url: str
    shelf: Shelf
    meters: Meters
    client: httpx.Client

    def predict(self, content: bytes, *, where: str = "/predict", headers=None, **data) -> httpx.Response:
        return self.client.post(where, files={"image": ("part.png", content)}, data=data, headers=headers)


@contextmanager
def running(models: Mapping[str, Path], *, port: int = 0, **limits) -> Iterator[Running]:
    settings = ServiceSettings(port=port, **limits)
    meters = Meters()
    shelf = Shelf(models, max_models=settings.max_models, device="cpu", meters=meters)
    shelf.load_all()
    with listening(settings) as bound:
        server = server_of(make_app(shelf, settings), settings)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.005)
        with httpx.Client(base_url=address(bound), timeout=30, trust_env=False) as client:
            yield Running(address(bound), shelf, meters, client)
        server.should_exit = True
        thread.join()


def png(pixels: np.ndarray, **options) -> bytes:
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG", **options)
    return file.getvalue()
