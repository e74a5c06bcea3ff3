"""A photograph's way through a server: decoded in a thread, scored with others, answered before the deadline."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, nullcontext
from dataclasses import replace
from typing import TypeVar

from starlette.datastructures import Headers

from cavga.arrays import Photograph
from cavga.errors import ModelFileError
from cavga.images.decode import NUM_DECODE_THREADS
from cavga.inference.prediction import Prediction
from cavga.inference.prepare import DecodedImage, FailedImage, FileContent
from cavga.service.admission import Admission
from cavga.service.answers import Wanted, prediction_answer
from cavga.service.batching import fail
from cavga.service.refusals import RefusedError, Visit, too_late, unusable
from cavga.service.settings import ServiceSettings
from cavga.service.shelf import Served, Shelf
from cavga.service.uploads import (
    FIELD,
    Upload,
    check_size,
    content_type,
    file_content,
    form_upload,
    json_upload,
    shown_name,
)

logger = logging.getLogger("cavga")

SHORT = 2**16  # bytes of JSON that are read sooner than another thread is woken
Result = TypeVar("Result")


class Scorer:
    """Scores photographs with the models of a shelf; its threads decode and draw, those of the models compute."""

    def __init__(self, shelf: Shelf, settings: ServiceSettings) -> None:
        self.shelf, self.settings = shelf, settings
        self._threads = ThreadPoolExecutor(NUM_DECODE_THREADS, thread_name_prefix="cavga-decode")
        self._few = asyncio.Semaphore(NUM_DECODE_THREADS)
        self._admission = Admission()

    def close(self) -> None:
        """End the threads; nothing is under way any more."""
        self._threads.shutdown()

    async def answer(self, name: str, upload: Upload, wanted: Wanted, visit: Visit) -> bytes:
        """The body of the answer to one photograph; raises RefusedError."""
        async with self._working(name, visit, needs_pixels=wanted.needs_pixels) as served:

            def described(prediction: Prediction) -> bytes:
                more = {"model": name, "request_id": visit.id, "path": upload.name}
                return prediction_answer(served.detector, prediction, wanted, threshold=upload.threshold, **more)

            source = file_content(upload)
            return await self._scored(served, source, described, keep_pixels=wanted.needs_pixels)

    async def predictions(
        self, name: str, sources: Sequence[FileContent | Photograph], visit: Visit
    ) -> list[Prediction]:
        """The predictions of several photographs of one request; raises RefusedError."""
        async with self._working(name, visit, needs_pixels=False) as served:
            return await _all([self._scored(served, source, lambda found: found) for source in sources])

    async def upload(self, headers: Headers, body: bytes) -> Upload:
        """The photograph of a body; long JSON is read in a thread."""
        kind = content_type(headers)
        if kind == "multipart/form-data":
            return await form_upload(headers, body)
        if kind == "application/json":
            return json_upload(body) if len(body) <= SHORT else await self.in_thread(json_upload, body)
        raise unusable(
            f"content type {kind[:80]!r}: expected multipart/form-data with the field {FIELD!r}, or application/json",
            "content_type", 415,
        )  # fmt: skip

    def in_thread(self, work: Callable[..., Result], *arguments: object) -> "asyncio.Future[Result]":
        """What takes its time, outside of the event loop."""
        return asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)

    @asynccontextmanager
    async def _working(self, name: str, visit: Visit, *, needs_pixels: bool) -> AsyncIterator[Served]:
        """A model, until the deadline; of whole photographs that are kept, only a few at once."""
        deadline = visit.started + self.settings.deadline
        try:
            async with asyncio.timeout_at(deadline), self.shelf.lease(name) as served:
                visit.model = name
                is_large = needs_pixels or served.detector.tiling.tile is not None
                with self._admission.place(deadline, served.batcher.num_workers):
                    async with self._few if is_large else nullcontext():
                        yield served
        except TimeoutError:
            raise too_late(self.settings.deadline) from None
        except ModelFileError as error:
            logger.error("request %s: model %s: %s", visit.id, name, error)
            raise RefusedError(503, "model_unavailable", f"model {name} cannot be run now") from None

    def _scored(
        self,
        served: Served,
        source: FileContent | Photograph,
        finish: Callable[[Prediction], Result],
        *,
        keep_pixels: bool = False,
    ) -> "asyncio.Future[Result]":
        """What `finish` makes of a prediction. From thread to thread, and to the event loop only with the result."""
        found: Future[Result] = Future()
        served.batcher.expect(1)

        def prepare() -> None:
            try:
                if not found.cancelled():
                    image = self._prepared(served, source, keep_pixels=keep_pixels)
                    served.batcher.submit(image, found, lambda result: finish(self._judged(served, result)))
            except Exception as error:
                fail(found, error)
            finally:
                served.batcher.expect(-1)

        self._threads.submit(prepare)
        return asyncio.wrap_future(found)

    def _prepared(self, served: Served, source: FileContent | Photograph, *, keep_pixels: bool) -> DecodedImage:
        """One image as the model takes it; the whole photograph is let go, unless it is drawn on."""
        if isinstance(source, FileContent):
            check_size(source.content, shown_name(source.name), self.settings.max_pixels)
        image = served.detector.prepare(source)
        if isinstance(image, FailedImage):
            raise unusable(image.error, "image")
        return image if keep_pixels else replace(image, given=None)

    def _judged(self, served: Served, result: Prediction | FailedImage) -> Prediction:
        if isinstance(result, FailedImage):
            raise unusable(result.error, "image")
        served.watch.add(result.score)
        self.shelf.meters.images.labels(served.name, str(result.is_anomalous).lower()).inc()
        return result


async def _all(futures: "Sequence[asyncio.Future[Result]]") -> list[Result]:
    """What all of them give; where one fails or the time is over, the others are given up."""
    try:
        return list(await asyncio.gather(*futures))
    except BaseException:
        for future in futures:
            future.cancel()
        raise
