"""What a user gives to be scored -> the single images of it, in order. No torch."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import cast

from cavga.errors import UsageError
from cavga.images.as_photograph import LISTED, Held, is_batch, is_held
from cavga.images.decode import BATCH_SIZE
from cavga.images.walk import images_in
from cavga.regular_files import is_folder

Source = Held | str | Path
AHEAD = 3 * BATCH_SIZE - 1  # images: one batch is scored while two are decoded


def ahead_of(images: object, ahead: int | None) -> int:
    """How many images are taken ahead: as given, else none of an iterator, which may be a camera, AHEAD of the rest."""
    if ahead is None:
        return 0 if isinstance(images, Iterator) else AHEAD
    if ahead < 0:
        raise UsageError(f"ahead: expected a number of images from 0 on, got {ahead}")
    return ahead


def single_images(images: Iterable[Source] | Source) -> Iterator[Held | Path]:
    """Every image of what was given; raises UsageError for what is none."""
    for item in _items(images):
        if is_held(item):
            yield item
        elif not isinstance(item, str | Path) or not str(item):
            raise _not_an_image(item)
        elif is_folder(Path(item)):
            yield from images_in(Path(item))
        else:
            yield Path(item)


def one_image(image: Source) -> Held | Path:
    """The one image that was given; raises UsageError for a folder, a batch or a list."""
    if isinstance(image, str | Path):
        if str(image) and not is_folder(Path(image)):
            return Path(image)
    elif is_held(image) and not is_batch(image):
        return image
    got = "a folder" if isinstance(image, str | Path) and str(image) else _named(image)
    raise UsageError(f"expected one image (file, array, tensor or Pillow image), got {got}; predict takes several")


def _items(images: Iterable[Source] | Source) -> Iterable[Source]:
    if is_held(images):
        return cast(Iterable[Source], images) if is_batch(images) else [images]
    if isinstance(images, str | Path):
        return [images]
    if not isinstance(images, Iterable):
        raise _not_an_image(images)
    return images


def _not_an_image(item: object) -> UsageError:
    return UsageError(f"expected {LISTED}, paths, a folder, or an iterable of them; got {_named(item)}")


def _named(item: object) -> str:
    return "an empty text" if isinstance(item, str) and not item else type(item).__name__
