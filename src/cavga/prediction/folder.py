"""The output folder of `cavga predict`: lines and pictures in it are of one run, whatever interrupts it.

Pictures appear while a run goes on, its lines when it ends. So the lines of an earlier run go before the first new
picture comes, and with them the pictures that they name. A hidden file lists the pictures that no lines speak of yet:
where a run is stopped it stays, and the next run removes what it names.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO

from cavga.atomic_files import atomic_writer, remove_file
from cavga.inference.lines import PREDICTIONS_FILE, PredictionLine, json_lines, jsonl
from cavga.prediction.coco import CocoFile, coco_writer, is_coco_file
from cavga.prediction.gallery_page import GALLERY_FILE, is_gallery
from cavga.prediction.spreadsheet import TABLE_FILE, TableFile, is_table_file, table_writer
from cavga.regular_files import real_path

COCO_FILE = "coco.json"
UNFINISHED_FILE = ".unfinished.jsonl"
PICTURES = {"overlay": ("overlays", ".png"), "map": ("maps", ".tiff")}  # field of a line: folder and suffix


class PredictionFolder:
    """What a run writes to, which appears when it ends: lines, as JSON and as a table, a page, `coco` if asked for."""

    def __init__(self, folder: Path, lines: BinaryIO, table: TableFile, page: BinaryIO, coco: CocoFile | None) -> None:
        self._lines, self._table, self.page, self.coco = lines, table, page, coco
        self._folder, self._unfinished = folder, folder / UNFINISHED_FILE
        self._list: IO[bytes] | None = None

    def write(self, line: PredictionLine) -> None:
        """Write what is said of one image."""
        self._lines.write(jsonl([line.as_dict()]))
        self._table.add(line)

    def picture(self, pictures: Mapping[str, str], field: str) -> Path:
        """Where to write one of the pictures that a line names, relative to the folder, by their fields."""
        if self._list is None:
            self.remove_earlier()
            self._list = self._unfinished.open("ab", buffering=0)
        self._list.write(jsonl([{field: pictures[field]}]))
        return self._folder / pictures[field]

    def remove_earlier(self) -> None:
        """Remove the lines of an earlier run, what it wrote beside them and the pictures that it names, nothing else.

        Lines with no pictures and no coco.json are left for the new ones to replace.
        """
        if self._list is not None:
            return
        lines, coco = self._folder / PREDICTIONS_FILE, self._folder / COCO_FILE
        has_coco = is_coco_file(coco)
        if lines.is_file() and (has_coco or any(True for _ in _named(lines))):
            # A list that is there already names the same: its run was stopped just after it had written its lines.
            lines.replace(self._unfinished)
        table, gallery = self._folder / TABLE_FILE, self._folder / GALLERY_FILE
        for path, is_ours in ((coco, has_coco), (table, is_table_file(table)), (gallery, is_gallery(gallery))):
            if is_ours:
                path.unlink()
        if self._unfinished.is_file():
            for name in _named(self._unfinished):
                self._remove(name)
            self._unfinished.unlink()

    def close_list(self, *, is_done: bool) -> None:
        """End the list of pictures; when the lines are written it is not needed any more."""
        if self._list is not None:
            self._list.close()
            if is_done:
                self._unfinished.unlink(missing_ok=True)

    def _remove(self, name: PurePosixPath) -> None:
        """Remove a picture, and the folders that are empty without it; nothing where a link leads out of the folder."""
        if not real_path((self._folder / name).parent).is_relative_to(real_path(self._folder)):
            return
        remove_file(self._folder / name)  # somebody may have put a folder there: that is not ours
        for parent in list(name.parents)[:-1]:
            try:
                (self._folder / parent).rmdir()
            except OSError:  # it holds something else, or is gone already
                return


@contextmanager
def prediction_folder(folder: Path, *, with_coco: bool) -> Iterator[PredictionFolder]:
    """A folder to write predictions to; lines, page and coco.json appear when the block ends, whole or not at all.

    If the block raises, an earlier run's are still there, unless a picture was written.
    """
    coco_file = coco_writer(folder / COCO_FILE) if with_coco else nullcontext()
    opened, is_done = None, False
    try:
        with (
            atomic_writer(folder / PREDICTIONS_FILE) as lines,
            table_writer(folder / TABLE_FILE) as table,
            atomic_writer(folder / GALLERY_FILE) as page,
            coco_file as coco,
        ):
            opened = PredictionFolder(folder, lines, table, page, coco)
            yield opened
            lines.flush()  # a full disk shows now, while the earlier lines are still there
            opened.remove_earlier()
        is_done = True
    finally:
        if opened is not None:
            opened.close_list(is_done=is_done)


def _named(lines: Path) -> Iterator[PurePosixPath]:
    """The pictures that lines name, as far as they are where we write them: the file may have been changed."""
    for item in json_lines(lines):
        for field, (subfolder, suffix) in PICTURES.items():
            name = None if item is None else item.get(field)
            path = PurePosixPath(name if isinstance(name, str) and "\0" not in name else "")
            if path.parts[:1] == (subfolder,) and ".." not in path.parts and path.suffix == suffix:
                yield path
