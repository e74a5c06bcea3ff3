"""Maps and scores that were made elsewhere, found and matched by name to the images of a data set."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from cavga.arrays import AnomalyMap
from cavga.data.records import ImageRecord
from cavga.errors import DataError
from cavga.evaluation.score_file import ScoreRow
from cavga.images.decode import read_image
from cavga.images.resize import resize_map
from cavga.inference.prepare import FailedImage
from cavga.prediction.map_files import MAP_SUFFIXES, read_map

Parts = tuple[str, ...]


class ImageNames:
    """Finds images by their paths, or by as much of the end of a path as tells them apart."""

    def __init__(self, relative_paths: Sequence[str]) -> None:
        self._by_last: dict[str, list[tuple[int, Parts]]] = defaultdict(list)
        for position, text in enumerate(relative_paths):
            path = PurePosixPath(text)
            for name in {path.name, path.stem}:
                self._by_last[name].append((position, (*path.parent.parts, name)))

    def find(self, name: str) -> list[int]:
        """The positions of the images that `name` may mean: none if it is unknown, several if it is ambiguous.

        It means an image if one of the two paths is the end of the other, folder by folder, with or without the
        image's suffix; if it is the whole path of one, then that one alone.
        """
        given = PurePosixPath(name.replace("\\", "/")).parts
        if not given:
            return []
        candidates = self._by_last.get(given[-1], [])
        whole = [position for position, parts in candidates if parts == given]
        return sorted(set(whole or [position for position, parts in candidates if _is_end(parts, given)]))


def _is_end(first: Parts, second: Parts) -> bool:
    length = min(len(first), len(second))
    return first[-length:] == second[-length:]


@dataclass(frozen=True, eq=False)
class ExternalResult:
    """What is known of one image; `is_anomalous` is None where nobody decided."""

    score: float
    is_anomalous: bool | None
    anomaly_map: AnomalyMap
    image_size: tuple[int, int]
    milliseconds: None = None


@dataclass(frozen=True)
class FoundMaps:
    """The map file of every image that has one, by the image's position, and how many files belong to none."""

    paths: Mapping[int, Path]
    num_unused: int


def find_maps(folder: Path, records: Sequence[ImageRecord]) -> FoundMaps:
    """Match the maps below `folder` to test images by path or by a unique end of it, such as the stem.

    Files that belong to none of these images are counted and not read. Raises DataError if the folder is missing, if
    a map may belong to several images or an image has several maps, and if no image has one.
    """
    if not folder.is_dir():
        raise DataError(f"--maps {folder}: expected a folder of maps ({', '.join(MAP_SUFFIXES)}); check the path")
    names = ImageNames([record.relative_path for record in records])
    paths: dict[int, Path] = {}
    num_unused = 0
    for path in _map_files(folder):
        found = names.find(path.relative_to(folder).with_suffix("").as_posix())
        if len(found) > 1:
            raise DataError(f"{path}: {_ambiguous(found, records)}; put it in the folders that the image is in")
        if not found:
            num_unused += 1
            continue
        if found[0] in paths:
            raise DataError(
                f"{records[found[0]].relative_path} has two maps, {paths[found[0]]} and {path}: remove the wrong one"
            )
        paths[found[0]] = path
    if not paths:
        raise DataError(
            f"{folder}: none of its {num_unused} maps is of a test image; expected {map_name(records[0])} and so on, "
            f"with a suffix of {', '.join(MAP_SUFFIXES)}"
        )
    return FoundMaps(paths, num_unused)


def map_name(record: ImageRecord) -> str:
    """What the map of an image is called below the folder, without a suffix."""
    return Path(record.relative_path).with_suffix("").as_posix()


def match_scores(
    rows: Sequence[ScoreRow], records: Sequence[ImageRecord], others: Sequence[str]
) -> dict[int, ScoreRow]:
    """The row of every test image that has one, by the image's position; rows of `others`, paths, are passed over.

    Raises DataError for a row that may mean several images or none, and for the second of one image.
    """
    names, other_names = ImageNames([record.relative_path for record in records]), ImageNames(others)
    matched: dict[int, ScoreRow] = {}
    for row in rows:
        found = names.find(row.image)
        if len(found) > 1:
            raise DataError(f"{row.place}: image {row.image!r} {_ambiguous(found, records)}; write the whole path")
        if not found and not other_names.find(row.image):
            raise DataError(
                f"{row.place}: image {row.image!r} is not in the data set; expected paths like "
                f"{records[0].relative_path}, or a unique name"
            )
        if found and found[0] in matched:
            raise DataError(
                f"{row.place}: second score of {records[found[0]].relative_path}, after {matched[found[0]].place}"
            )
        matched |= dict.fromkeys(found, row)
    return matched


def external_results(
    records: Sequence[ImageRecord],
    maps: Mapping[int, Path],
    rows: Mapping[int, ScoreRow] | None,
    *,
    size: tuple[int, int] | None,
    decide: Callable[[float, ScoreRow | None], bool | None],
) -> Iterator[ExternalResult | FailedImage]:
    """One result for each record, one after the other; maps are brought to `size` (height, width) if it is given.

    Without rows the score is the largest value of the map as it is in the file. An image without a map or a score, and
    one that cannot be read, is a FailedImage that says so. Raises DataError at a broken map.
    """
    for position, record in enumerate(records):
        row = None if rows is None else rows.get(position)
        problem = _problem(record, maps.get(position), row, needs_row=rows is not None)
        if problem is None:
            try:
                photograph_size = read_image(record.path).shape[:2]  # whole: one that evaluate would leave out is too
            except DataError as error:
                problem = str(error)
        if problem is not None:
            yield FailedImage(problem)
            continue
        anomaly_map = read_map(maps[position])
        score = float(anomaly_map.max()) if row is None or row.score is None else row.score
        shown = anomaly_map if size is None else resize_map(anomaly_map, size)
        height, width = photograph_size
        yield ExternalResult(score, decide(score, row), shown, (height, width))


def _problem(record: ImageRecord, path: Path | None, row: ScoreRow | None, *, needs_row: bool) -> str | None:
    """Why there is nothing to measure of an image, None if there is."""
    name = record.relative_path
    if path is None:
        return f"{name}: has no map; expected {map_name(record)} with a suffix of {', '.join(MAP_SUFFIXES)}"
    if needs_row and row is None:
        return f"{name}: has no score; expected a row for every test image"
    return f"{name}: has no score: {row.error}" if row is not None and row.score is None else None


def _map_files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.suffix.lower() in MAP_SUFFIXES and not hidden and path.is_file():
            yield path


def _ambiguous(found: Sequence[int], records: Sequence[ImageRecord]) -> str:
    named = [records[position].relative_path for position in found[:2]]
    more = f" and {len(found) - 2} more" if len(found) > 2 else ""
    return f"may mean {' or '.join(named)}{more}"
