"""Which image of a data set a name means that somebody else wrote: in a file of scores, or as the name of a map."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import PurePosixPath

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
