"""Everything that is wrong with a catalog, as rows: every image is decoded once. No torch."""

import logging
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from cavga.data.copies import PhotographFacts, read_once, units_of_copies
from cavga.data.folder_names import folders_of_split
from cavga.data.manifest import alike_by_case, relative_to_root
from cavga.data.readers.layouts import CLASS_LAYOUTS, LAYOUTS
from cavga.data.readers.published import found_counts, official_counts
from cavga.data.records import ANOMALOUS, NORMAL, SEVERITIES, SPLITS, Catalog, Finding, ImageRecord
from cavga.images.decode import size_text
from cavga.images.masks import examine_mask
from cavga.images.opening import ImageFileError
from cavga.images.pixel_range import range_of_set
from cavga.images.walk import is_copy
from cavga.printable import printable
from cavga.progress import SILENT, Progress, counted
from cavga.threads import thread_pool

logger = logging.getLogger("cavga")

_MAX_LOGGED = 5  # findings that a command other than check names
FEW_IMAGES = 20  # normal training images; below it neither the model nor a threshold says much


_Pair = tuple[ImageRecord, PhotographFacts]


class _Facts(NamedTuple):
    """What decoding one record gave; no photograph where the image cannot be read."""

    findings: list[Finding]
    photograph: PhotographFacts | None


def check_catalog(catalog: Catalog, progress: Progress = SILENT) -> list[Finding]:
    """Every error, warning and note, errors first, then by path."""
    missing = set(catalog.missing)
    catalog = replace(catalog, records=tuple(r for r in catalog.records if r.path not in missing))
    progress.begin("reading", len(catalog.records), "images")
    with thread_pool(max(2, min(4, os.cpu_count() or 1))) as pool:
        found = pool.map(lambda record: _examine(record, catalog, missing), catalog.records)
        facts = list(counted(found, progress))
    findings = [finding for fact in facts for finding in fact.findings]
    pairs = [(record, fact.photograph) for record, fact in zip(catalog.records, facts, strict=True) if fact.photograph]
    photographs = [photograph for _, photograph in pairs]
    findings += findings_of_reading(catalog)
    findings += _counts(catalog)
    findings += _copies(pairs)
    findings += _masks_as_a_whole(catalog)
    findings += _duplicates(pairs)
    findings += _mixtures(photographs)
    findings += _pixel_ranges(photographs)
    findings += _unofficial_counts(catalog)
    return sorted(findings, key=lambda row: (SEVERITIES.index(row.severity), row.path, row.problem))


def count_images(catalog: Catalog) -> dict[str, int]:
    """How many images each split and label has; every key is there, with 0 if need be."""
    keys = ("train_normal", "train_anomalous", "calibration_normal")
    counts = dict.fromkeys((*keys, "test_normal", "test_anomalous", "test_unknown", "with_mask"), 0)
    words = {NORMAL: "normal", ANOMALOUS: "anomalous", None: "unknown"}
    for record in (record for record in catalog.records if record.path not in catalog.missing):
        counts[f"{record.split}_{words[record.label]}"] += 1
        counts["with_mask"] += bool(record.mask_paths)
    return counts


def _examine(record: ImageRecord, catalog: Catalog, missing: set[Path]) -> _Facts:
    """Read, hash and decode one image and its masks."""
    findings: list[Finding] = []
    photograph = None
    try:
        _, photograph = read_once(record.path)
        findings += _further_pages(record, photograph)
    except ImageFileError as error:
        findings.append(Finding("error", record.relative_path, error.problem, error.remedy))
    readable = [path for path in record.mask_paths if path not in missing]
    findings += _examine_masks(record, readable, photograph.size if photograph else (), catalog.root)
    is_defect = record.split == "test" and record.label == ANOMALOUS
    if catalog.expects_masks and is_defect and not record.mask_paths:
        remedy = LAYOUTS[catalog.layout].mask_remedy or "add it by name (ground_truth/<type>/<name>_mask.png)"
        findings.append(
            Finding("error", record.relative_path, "has a defect but no mask", f"{remedy} or remove the image")
        )
    return _Facts(findings, photograph)


def _further_pages(record: ImageRecord, photograph: PhotographFacts) -> Iterator[Finding]:
    for problem in photograph.remarks:
        remedy = "save the others as files of their own if they are photographs too"
        yield Finding("warning", record.relative_path, problem, remedy)


def _examine_masks(record: ImageRecord, paths: Sequence[Path], size: tuple[int, ...], root: Path) -> Iterator[Finding]:
    is_marked, is_sound = False, bool(paths)
    for path in paths:
        name = relative_to_root(path, root)
        try:
            reading = examine_mask(path)
        except ImageFileError as error:
            is_sound = False
            yield Finding("error", name, error.problem, error.remedy)
            continue
        remedy = "see the mask, and draw it anew if need be"
        yield from (Finding("warning", name, doubt, remedy) for doubt in reading.doubts)
        mask = reading.mask
        is_marked = is_marked or bool(mask.any())
        if size and mask.shape != size:
            problem = f"mask is {size_text(mask.shape)}, its image {size_text(size)}"
            yield Finding("error", name, problem, "draw the mask on the image at its full size")
    if is_sound and record.label == ANOMALOUS and not is_marked:
        yield Finding("warning", record.relative_path, "has a defect, but its mask is empty", "draw the mask")
    if is_marked and record.label == NORMAL:
        problem = "is good, but its mask marks a defect"
        yield Finding("warning", record.relative_path, problem, "mend its label or its mask")


def findings_of_reading(catalog: Catalog) -> list[Finding]:
    """What can be said before an image is decoded: files without a place, and what the reader remarked."""
    return [*_unpaired_files(catalog), *unread(catalog), *catalog.remarks]


def log_findings(catalog: Catalog, split: str) -> None:
    """Say what `findings_of_reading` found, but of files that training lists itself, in a few lines.

    Of notes only those of the reader are said: what it made of what it was given.
    """
    for item in (item for item in catalog.remarks if item.severity == "note"):
        logger.info("%s: %s; %s", printable(item.path), item.problem, item.remedy)
    listed = set(unread(catalog)) if split == "train" else set[Finding]()
    found = [item for item in findings_of_reading(catalog) if item.severity != "note" and item not in listed]
    for item in found[:_MAX_LOGGED]:
        logger.warning("%s: %s; %s", printable(item.path), item.problem, item.remedy)
    if len(found) > _MAX_LOGGED:
        logger.warning("and %d more like these: `cavga check` lists all", len(found) - _MAX_LOGGED)


def _unpaired_files(catalog: Catalog) -> Iterator[Finding]:
    for path in catalog.orphan_masks:
        remedy = "name it <image name>_mask in the folder of its image's type, or remove it"
        if LAYOUTS[catalog.layout].mask_remedy:
            remedy = "see that its image was not left behind, or remove it"
        yield Finding("error", relative_to_root(path, catalog.root), "mask without an image", remedy)
    for path in catalog.missing:
        remedy = (
            alike_by_case(path)
            or "paths are relative to the folder of what lists them; mend the path or remove the line"
        )
        yield Finding("error", relative_to_root(path, catalog.root), "is listed but does not exist", remedy)


def unread(catalog: Catalog) -> Iterator[Finding]:
    """Every file that is passed over, and what to do to have it read."""
    for path in catalog.skipped:
        name = relative_to_root(path, catalog.root)
        if is_copy(path):
            remedy = "remove it, or rename it to use it"
            yield Finding("warning", name, "is named as a copy and left out", remedy)
        else:
            remedy = LAYOUTS[catalog.layout].place_remedy
            yield Finding("warning", name, "lies where no images are read and is left out", remedy)
    for item in catalog.passed_over:
        problem, _, remedy = item.reason.partition("; ")
        yield Finding("warning", relative_to_root(item.path, catalog.root), problem, remedy or "remove or convert it")


def _counts(catalog: Catalog) -> Iterator[Finding]:
    counts = count_images(catalog)
    normal = counts["train_normal"]
    good = "train/good" if catalog.layout == "mvtec" else "."
    has_training_folder = catalog.layout == "mvtec" and bool(folders_of_split(catalog.root, "train"))
    if normal == 0 and (has_training_folder or counts["train_anomalous"]):
        yield Finding("error", good, "no normal training images", "add photographs of good parts")
    elif normal == 0:
        problem = "no training images: this set can be evaluated, not trained on"
        yield Finding("warning", good, problem, "to train, add photographs of good parts")
    elif normal < FEW_IMAGES:
        problem = f"only {normal} normal training images, fewer than {FEW_IMAGES}"
        yield Finding("warning", good, problem, "add photographs of good parts")
    if not catalog.split("test"):
        path = "test" if catalog.layout == "mvtec" else "."
        remedy = "to evaluate, add test/good and test/<defect type>, or lines of split test"
        if catalog.layout == "shanghaitech":
            remedy = "nothing to do if this is scene 13, which has no test clips"
        yield Finding("warning", path, "no test images: nothing can be measured", remedy)


def _copies(pairs: Sequence[_Pair]) -> Iterator[Finding]:
    """How many different photographs the good ones to train on are: what counts for a model and its promise."""
    known = [photograph for record, photograph in pairs if record.split == "train" and record.label == NORMAL]
    num_different = len(set(units_of_copies([one.sha256 for one in known], [one.thumbnail for one in known])))
    if num_different == len(known):
        return
    problem = f"the {len(known)} normal training images are of {num_different} different photographs: copies count once"
    severity = "error" if num_different < 2 else "warning"
    yield Finding(severity, ".", problem, "add photographs of other good parts, not copies")


def _masks_as_a_whole(catalog: Catalog) -> Iterator[Finding]:
    num_defects = count_images(catalog)["test_anomalous"]
    if num_defects and not catalog.expects_masks and catalog.layout not in CLASS_LAYOUTS:
        problem = f"no masks for {num_defects} anomalous test images: pixel metrics cannot be computed"
        path = "ground_truth" if catalog.layout == "mvtec" else "."
        yield Finding("warning", path, problem, "add masks if localization is to be measured")


def _duplicates(pairs: Sequence[_Pair]) -> Iterator[Finding]:
    same: dict[str, list[ImageRecord]] = defaultdict(list)
    for record, photograph in sorted(pairs, key=lambda pair: SPLITS.index(pair[0].split)):
        same[photograph.sha256].append(record)
    for first, *others in same.values():
        for record in others:
            problem = f"split {record.split}: same content as {first.relative_path} in split {first.split}"
            if {record.label, first.label} == {NORMAL, ANOMALOUS}:
                problem += ", and one is labelled good, the other bad"
                # Both to learn from: a w variant refuses that. In the test it is one image too many.
                severity = "warning" if "test" in (record.split, first.split) else "error"
                yield Finding(severity, record.relative_path, problem, "remove the one whose label is wrong")
            else:
                severity = "note" if record.split == first.split else "warning"
                yield Finding(severity, record.relative_path, problem, "keep one of the two")


def _mixtures(photographs: Sequence[PhotographFacts]) -> Iterator[Finding]:
    sizes = Counter(size_text(photograph.size) for photograph in photographs)
    modes = Counter(photograph.mode for photograph in photographs)
    if len(sizes) > 1:
        remedy = "all are resized to the model's input size; see that no part looks distorted"
        yield Finding("note", ".", f"{len(sizes)} image sizes: {_most_common(sizes)}", remedy)
    if len(modes) > 1:
        remedy = "all are read as RGB; see that colour does not tell good from bad"
        yield Finding("note", ".", f"{len(modes)} pixel modes: {_most_common(modes)}", remedy)


def _pixel_ranges(photographs: Sequence[PhotographFacts]) -> Iterator[Finding]:
    """16-bit greys that leave bits unused, or use more of them in some photographs than in others."""
    depths = [photograph.depth for photograph in photographs if photograph.depth is not None]
    found = range_of_set(depths)
    if len(set(depths)) > 1:
        shown = _most_common(Counter(f"{depth} bits" for depth in depths))
        remedy = f"all are read as {found.bit_depth} bits: see that one camera and one setting made them"
        yield Finding("warning", ".", f"16-bit greys of {len(set(depths))} ranges: {shown}", remedy)
    elif found.is_unusual:
        yield Finding("warning", ".", str(found), "see that photographs to predict are of the same range")


def _most_common(counter: Counter[str]) -> str:
    rows = sorted(counter.items(), key=lambda item: (-item[1], item[0]))
    shown = ", ".join(f"{name} ({count})" for name, count in rows[:4])
    return shown + (", .." if len(rows) > 4 else "")


def _unofficial_counts(catalog: Catalog) -> Iterator[Finding]:
    """Where a known data set is not as it was published: people use subsets, so these are notes."""
    known = official_counts(catalog)
    if known is None:
        return
    title, counts = known
    found = found_counts(catalog)
    for name, count in counts.items():
        if found.get(name, 0) != count:
            problem = f"{title} has {count} {_words(name)}, here {found.get(name, 0)}"
            yield Finding("note", ".", problem, "see that the set is complete, if it is meant to be")


def _words(name: str) -> str:
    """In words: test_normal is "normal test images", test/scratch "images in test/scratch"."""
    split, _, label = name.partition("_")
    if "/" in name:
        return f"images in {name}"
    return f"{label} {'training' if split == 'train' else 'test'} images" if label else name
