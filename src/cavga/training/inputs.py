"""Read every image once before training: its hash and size, or what is wrong with it. No torch."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from cavga.data.manifest import sha256_of
from cavga.data.records import ImageRecord
from cavga.errors import DataError
from cavga.images.decode import read_image
from cavga.images.tiling import Framing, Size


def read_usable(
    records: Sequence[ImageRecord], framing: Framing, *, skip_bad: bool
) -> tuple[dict[str, str], dict[str, Size], list[str]]:
    """The sha256 and size of every usable image by its relative path, and an error for each of the others.

    Usable is what can be read and fits the region of interest. Raises DataError, which names those that are not,
    unless `skip_bad`.
    """
    with ThreadPoolExecutor() as pool:
        read = list(pool.map(lambda record: _examine(record, framing), records))
    hashes = {path: sha256 for path, sha256, _, _ in read if sha256}
    sizes = {path: size for path, _, size, _ in read if size}
    errors = [error for _, _, _, error in read if error]
    if errors and not skip_bad:
        listed = "; ".join(errors[:5]) + (f"; and {len(errors) - 5} more" if len(errors) > 5 else "")
        raise DataError(f"{len(errors)} training images cannot be read (--skip-bad trains without them): {listed}")
    return hashes, sizes, errors


def _examine(record: ImageRecord, framing: Framing) -> tuple[str, str | None, Size | None, str | None]:
    """(relative path, sha256, size, None) of an image that can be used, (relative path, None, None, error) else."""
    try:
        height, width, _ = read_image(record.path).shape
        framing.check_fit((height, width), str(record.path))
    except DataError as error:
        return record.relative_path, None, None, str(error)
    return record.relative_path, sha256_of(record.path), (height, width), None
