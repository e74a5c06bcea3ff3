"""One table of layouts: who reads each, how it is recognised, and where the data sets that have it come from. No torch.

A new data set is a reader, which has `find_NAME` and `load_NAME`, and one entry here. Readers are imported when they
are needed, so that commands list the names without them.
"""

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cavga.data.records import Catalog


@dataclass(frozen=True)
class Source:
    """A published data set with a layout."""

    folder: str
    """Its name below the ROOT of `cavga benchmark`; letters and digits alone count."""
    where: str
    """Where to get it, and into which folder it goes."""
    other_names: tuple[str, ...] = ()
    """Of its folder, by letters and digits alone."""


@dataclass(frozen=True)
class Layout:
    """How images lie in a folder or file."""

    reader: str
    """The module with `find_NAME(data)`, where below data it begins, and `load_NAME(root, ...)`."""
    takes: tuple[str, ...] = ()
    """What its `load_NAME` takes by name: of category, normal_class and mask_cut."""
    has_classes: bool = False
    """One class of several is normal."""
    is_general: bool = False
    """Any folder may have it: its `load_NAME` takes the whole folder, and says what is missing there."""
    suffixes: tuple[str, ...] = ()
    """Of the files that have it, in lower case."""
    is_of_folders: bool = True
    rank: int = 0
    """In recognition; the highest comes first. Below 0: what a known set could be taken for."""
    mask_remedy: str | None = None
    """How an anomalous image gets its mask, where not by name as in MVTec."""
    place_remedy: str = "only images directly in <split>/good or <split>/<defect type> are; move it there"
    """What to do with an image that lies where its reader takes none."""
    sources: tuple[Source, ...] = ()


LAYOUTS: dict[str, Layout] = {
    "mvtec": Layout(
        "readers.mvtec", ("category",), is_general=True, rank=-2,
        sources=(
            Source(
                "mvtec_ad",
                "MVTec AD is at www.mvtec.com/company/research/datasets/mvtec-ad: unpack it into mvtec_ad/<category>",
                ("mvtec", "mvtecanomalydetection"),
            ),
            Source(
                "magnetic_tile",
                "the magnetic tile defects are at github.com/abin24/Magnetic-tile-defect-datasets.: put them into "
                "magnetic_tile/ as train/good, test/good, test/<defect> and ground_truth/<defect>",
            ),
        ),
    ),
    "labelled": Layout(
        "readers.labelled", is_general=True, rank=-3, mask_remedy="put it into masks/ under the image's own name",
        place_remedy="only images below folders called good or bad are; move it there",
    ),
    "folder": Layout("readers.mvtec", is_general=True, rank=-4),
    "manifest": Layout(
        "manifest", ("category",), suffixes=(".csv", ".tsv"), is_of_folders=False,
        mask_remedy="fill in its column mask",
    ),
    "coco": Layout(
        "readers.annotations", suffixes=(".json",), rank=-1,
        mask_remedy="annotate it with an outline or a brush, not a box,",
        place_remedy="the COCO file does not list it; annotate it too, or leave it out",
    ),
    "classes": Layout("readers.class_folders", ("normal_class",), has_classes=True, is_general=True, rank=-1),
    "idx": Layout(
        "readers.idx_cifar10", ("normal_class",), has_classes=True,
        sources=(
            Source(
                "MNIST", "MNIST is at yann.lecun.com/exdb/mnist: its four IDX files go into MNIST/raw, .gz or unpacked"
            ),
            Source(
                "FashionMNIST",
                "Fashion-MNIST is at github.com/zalandoresearch/fashion-mnist: its four IDX files go into "
                "FashionMNIST/raw, .gz or unpacked",
                ("fashion",),
            ),
        ),
    ),
    "cifar10": Layout(
        "readers.idx_cifar10", ("normal_class",), has_classes=True,
        sources=(
            Source(
                "cifar10",
                "CIFAR-10 is at www.cs.toronto.edu/~kriz/cifar.html: unpack the binary version, so that cifar10/ holds "
                "cifar-10-batches-bin",
                ("cifar10batchesbin", "cifar"),
            ),
        ),
    ),
    "lag": Layout(
        "readers.lag", ("mask_cut",), rank=1, mask_remedy="add its attention_map",
        sources=(
            Source(
                "lag",
                "LAG's authors send the password (github.com/smilell/AG-CNN): unpack it so that lag/ holds "
                "non_glaucoma and suspicious_glaucoma",
                ("lagdatabase", "lagdatabasepart1"),
            ),
        ),
    ),
    "shanghaitech": Layout(
        "readers.shanghaitech", ("category",), rank=2, mask_remedy="add testing/test_pixel_mask/<clip>.npy",
        sources=(
            Source(
                "shanghaitech",
                "ShanghaiTech Campus is at svip-lab.github.io/dataset/campus_dataset.html: unpack it so that "
                "shanghaitech/ holds training and testing",
                ("mstc", "stc"),
            ),
        ),
    ),
}  # fmt: skip
CLASS_LAYOUTS = tuple(name for name, layout in LAYOUTS.items() if layout.has_classes)


def in_order_of_recognition() -> list[str]:
    """The layouts of folders, those first that ask for most."""
    of_folders = (name for name, layout in LAYOUTS.items() if layout.is_of_folders)
    return sorted(of_folders, key=lambda name: -LAYOUTS[name].rank)


def of_file(path: Path) -> str | None:
    """The layout of a file by its suffix; None where no reader takes such files."""
    return next((name for name, layout in LAYOUTS.items() if path.suffix.lower() in layout.suffixes), None)


def find(layout: str, data: Path) -> Path | None:
    """Where below `data` a layout begins; None if it has another."""
    found: Path | None = getattr(_reader(layout), f"find_{layout}")(data)
    return found


def load(layout: str, root: Path, **asked: Any) -> "Catalog":
    """Read what begins at `root`; of category, normal_class and mask_cut a reader is given those it takes."""
    taken = {name: asked[name] for name in LAYOUTS[layout].takes}
    catalog: Catalog = getattr(_reader(layout), f"load_{layout}")(root, **taken)
    return catalog


def known_folders() -> list[str]:
    """The folders of the sets with a layout of their own, as they lie below the ROOT of `cavga benchmark`."""
    known = (LAYOUTS[name] for name in in_order_of_recognition() if not LAYOUTS[name].is_general)
    return [source.folder for layout in known for source in layout.sources]


def where_to_get(path: str, *, otherwise: str = "check the path") -> str:
    """Where the data set that this path is named after comes from, and into which folder it goes."""
    sources = [source for layout in LAYOUTS.values() for source in layout.sources]
    by_name = {name: source for source in sources for name in (normalised_name(source.folder), *source.other_names)}
    for part in reversed(Path(path).parts[-3:]):
        found = by_name.get(normalised_name(part))
        if found:
            return f"{found.where}; nothing is downloaded for you"
    return otherwise


def normalised_name(name: str) -> str:
    """The letters and digits of a name alone, in lower case: what remains however it is spelled."""
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def _reader(layout: str) -> Any:
    return import_module(f"cavga.data.{LAYOUTS[layout].reader}")
