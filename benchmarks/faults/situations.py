"""Sound files in the ways that people keep them: bad images beside good ones, masks as tools write them, odd ranges."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.faults.launcher import Done
from benchmarks.faults.pictures import mask_of, part, save, save_bad, save_category, save_good
from benchmarks.faults.tables import TRAIN
from benchmarks.faults.trials import READ, REFUSED, WRONG, Bench, Trial, expected, json_lines, trial

NUM_GOOD, NUM_BAD = 12, 4
IS_GOOD = re.compile(r"(^|/)(good|ok|normal|gut)/", re.I)
Pixels = NDArray[np.generic]


def bad_beside_good(bench: Bench) -> Iterator[Trial]:
    """Bad images or masks in folders beside the good ones are never learnt as good without a word."""
    beside = {
        "good, NG and mask": ("good", "NG/crack", "mask/crack"),
        "OK and NG": ("OK", "NG", None),
        "ok and defect": ("ok", "defect", None),
        "normal and abnormal": ("normal", "abnormal", None),
        "Images/Normal, Images/Anomaly and Masks": ("Data/Images/Normal", "Data/Images/Anomaly", "Data/Masks/Anomaly"),
        "gut and schlecht": ("gut", "schlecht", None),
        "good and crack": ("good", "crack", None),
        "Good and Scratch, in batches": ("batch1/Good", "batch1/Scratch", None),
    }
    for number, (what, (good, bad, masks)) in enumerate(list(beside.items())[:: bench.count(1, 4)]):
        data = bench.folder / f"beside{number}"
        save_good(data / good, NUM_GOOD)
        save_bad(data / bad, NUM_BAD, masks=None if masks is None else data / masks)
        yield _only_good(bench, data, what)
    data = save_category(bench.folder / "capitals", num_train=NUM_GOOD)
    for before, after in (("train/good", "train/Good"), ("test/good", "test/Good"), ("train", "Train"),
                          ("test", "Test"),
                          ("ground_truth", "Ground_Truth")):  # fmt: skip
        (data / before).rename(data / after)
    yield _only_good(bench, data, "Train/Good, Test/Good and Ground_Truth")
    data = save_category(bench.folder / "val", num_train=NUM_GOOD)
    save_good(data / "val/good", 5, first=500)
    yield expected("val/good beside train, check", bench.cavga("check", data), codes=(0,), says="val")


def _only_good(bench: Bench, data: Path, what: str) -> Trial:
    """Train: refused, or trained on the good ones alone."""
    output = bench.folder / "run"
    shutil.rmtree(output, ignore_errors=True)
    done = bench.cavga("train", data, "--output", output, "--no-export", *TRAIN)
    if done.exit_code not in (0, 4):
        return trial(what, done, REFUSED)
    manifest = (output / "manifest.csv").read_text(encoding="utf-8").splitlines()[1:]
    wrong = [line for line in manifest if not IS_GOOD.search(line) or "abnormal" in line or "Masks" in line]
    return (
        trial(what, done, WRONG, f"{len(wrong)} bad images or masks learnt as good")
        if wrong
        else trial(what, done, READ)
    )


def masks(bench: Bench) -> Iterator[Trial]:
    """The same masks as tools write them: as many true pixels as with the plain ones, or a word."""
    plain = 0
    for what, (suffix, image_format, make, may_differ) in _mask_kinds().items():
        data = bench.folder / "masks"
        shutil.rmtree(data, ignore_errors=True)
        save_category(data, num_train=2, num_good=3, num_bad=0)
        save_bad(data / "test/block", NUM_BAD)
        for number in range(NUM_BAD):
            mask = mask_of(2000 + number)
            save(data / f"ground_truth/block/{number:03d}_mask{suffix}", make(mask), image_format)
        output = bench.folder / "out"
        shutil.rmtree(output, ignore_errors=True)
        done = bench.cavga("evaluate", bench.run, data, "--output", output)
        marked = _marked(output)
        plain = plain or marked
        says_so = "mask" in done.err.lower()
        if abs(marked - plain) <= may_differ * plain and plain:
            yield trial(f"masks: {what}", done, READ)
        elif says_so:
            yield trial(f"masks: {what}", done, REFUSED)
        else:
            yield trial(f"masks: {what}", done, WRONG, f"{marked} pixels marked where {plain} are meant")


def _marked(output: Path) -> int:
    """How many pixels an evaluation took for anomalous."""
    file = output / "pixel_counts.npz"
    if not file.is_file():
        return 0
    with np.load(file) as content:
        return int(content["counts"][:, 1].sum())


def _mask_kinds() -> dict[str, tuple[str, str, Callable[[NDArray[np.bool_]], Pixels], float]]:
    def channels(mask: NDArray[np.bool_], *values: int) -> Pixels:
        return (mask[..., None] * np.array(values)).astype(np.uint8)

    def with_alpha(mask: NDArray[np.bool_]) -> Pixels:
        white = np.full((*mask.shape, 4), 255, dtype=np.uint8)
        white[..., 3] = mask * 255
        return white

    return {
        "0 and 255": (".png", "PNG", lambda mask: mask.astype(np.uint8) * 255, 0),
        "0 and 1": (".png", "PNG", lambda mask: mask.astype(np.uint8), 0),
        "one bit": (".png", "PNG", lambda mask: mask, 0),
        "16 bits": (".png", "PNG", lambda mask: mask.astype(np.uint16), 0),
        "classes in red": (".png", "PNG", lambda mask: channels(mask, 1, 0, 0), 0),
        "classes in blue": (".png", "PNG", lambda mask: channels(mask, 0, 0, 1), 0),
        "red on black": (".png", "PNG", lambda mask: channels(mask, 255, 0, 0), 0),
        "the shape in alpha": (".png", "PNG", with_alpha, 0),
        "JPEG": (".jpg", "JPEG", lambda mask: mask.astype(np.uint8) * 255, 0.1),
        "BMP": (".bmp", "BMP", lambda mask: mask.astype(np.uint8) * 255, 0),
        "inverted": (".png", "PNG", lambda mask: 255 - mask.astype(np.uint8) * 255, 0),
        "all black": (".png", "PNG", lambda mask: np.zeros(mask.shape, dtype=np.uint8), 0),
    }  # fmt: skip


def pixels(bench: Bench) -> Iterator[Trial]:
    """One picture in many modes and files: the same score, or a named refusal."""
    folder = bench.folder / "modes"
    folder.mkdir()
    grey = Image.fromarray(part(1))
    kinds = {"rgb.png": grey, "l.png": grey.convert("L"), "la.png": grey.convert("LA"),
             "rgba.png": grey.convert("RGBA"),
             "rgb.bmp": grey, "rgb.tif": grey,
             "i16.png": Image.fromarray(part(1)[..., 0].astype(np.uint16) * 257)}  # fmt: skip
    for name, image in kinds.items():
        image.save(folder / name)
    grey.save(folder / "rgb.webp", lossless=True)
    Image.fromarray(part(1)[..., 0].astype(np.float32) / 255).save(folder / "float.tif")
    done = bench.cavga("predict", bench.run, folder, "--output", bench.folder / "out")
    lines = {Path(line["path"]).name: line for line in json_lines(bench.folder / "out/predictions.jsonl")}
    sound = lines["rgb.png"]["score"] if "rgb.png" in lines else None
    for name in (*kinds, "rgb.webp", "float.tif"):
        line = lines.get(name, {"score": None, "error": None})
        if line["error"] is not None:
            yield trial(f"pixels: {name}", done, REFUSED)
        elif line["score"] is None or sound is None or abs(line["score"] - sound) > 1e-4 * abs(sound):
            yield trial(f"pixels: {name}", done, WRONG, f"scored {line['score']}, {sound} as rgb.png")
        else:
            yield trial(f"pixels: {name}", done, READ)
    yield _twelve_bits(bench)


def _twelve_bits(bench: Bench) -> Trial:
    """0 to 4095 in 16-bit files: a word of it, or as many grey levels as in the camera."""
    data = bench.folder / "as12"
    for number in range(NUM_GOOD):
        values = part(number)[..., 0].astype(np.uint16) * 16
        save(data / f"{number:03d}.png", values)
    done = bench.cavga("check", data)
    return expected("pixels: 12 bits in 16", done, codes=(0,), says="bit")


def copies(bench: Bench) -> Iterator[Trial]:
    """Photographs stored several times are one: a threshold promises no more than without the copies."""
    single, thrice = save_good(bench.folder / "single", 8), bench.folder / "thrice"
    for number in range(8):
        for copy in range(3):
            save(thrice / f"{number:03d}_{copy}.png", part(number))
    promised = {}
    for data in (single, thrice):
        output = bench.folder / f"run-{data.name}"
        done = bench.cavga("train", data, "--output", output, "--no-export", *TRAIN)
        description = (
            json.loads((output / "model.json").read_text(encoding="utf-8")) if done.exit_code in (0, 4) else {}
        )
        calibration = description.get("calibration", {})
        rates = [calibration.get(f"{word}_false_alarm_rate") for word in ("promised", "guaranteed")]
        promised[data.name] = next((rate for rate in rates if rate is not None), 1.0)
    what = "8 photographs, each three times"
    if promised["thrice"] < promised["single"] - 1e-9:
        yield trial(what, done, WRONG, f"promises {promised['thrice']:.3f}, without copies {promised['single']:.3f}")
    else:
        yield trial(what, done)
    same = bench.folder / "same"
    for number in range(NUM_GOOD):
        save(same / f"{number:03d}.png", part(0))
    yield trial(
        "one photograph 12 times",
        bench.cavga("train", same, "--output", bench.folder / "same-run", "--no-export", *TRAIN),
    )
    flat = bench.folder / "flat"
    for number in range(NUM_GOOD):
        save(flat / f"{number:03d}.png", np.full((48, 48, 3), 128, dtype=np.uint8))
    yield trial("one grey", bench.cavga("train", flat, "--output", bench.folder / "flat-run", "--no-export", *TRAIN))
    for count in (1, 2, 3):
        few = save_good(bench.folder / f"few{count}", count)
        done = bench.cavga("train", few, "--output", bench.folder / f"few{count}-run", "--no-export", *TRAIN)
        yield expected(f"{count} photographs", done, codes=(2, 3) if count == 1 else (0, 1, 3))


def passed_over(bench: Bench) -> Iterator[Trial]:
    """What is not read is named or counted, by every command; thumbnails of file servers are not photographs."""
    data = save_good(bench.folder / "suffixes", 6)
    for name, image_format in (
        ("a.jfif", "JPEG"),
        ("b.jpe", "JPEG"),
        ("c.gif", "GIF"),
        ("d.ppm", "PPM"),
        ("e.jp2", "JPEG2000"),
    ):
        save(data / name, part(100), image_format)
    (data / "f.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(200))
    commands: dict[str, tuple[object, ...]] = {
        "check": (data,),
        "predict": (bench.run, data, "--output", bench.folder / "out"),
        "train": (data, "--output", bench.folder / "run-suffixes", "--no-export", *TRAIN),
    }
    for command, arguments in commands.items():
        done = bench.cavga(command, *arguments)
        yield expected(f"other suffixes, {command}", done, codes=(0, 3, 4), says="heic")
    pages = bench.folder / "pages"
    pages.mkdir()
    images = [Image.fromarray(part(number)) for number in range(3)]
    for suffix in ("tif", "webp", "png"):
        images[0].save(pages / f"p.{suffix}", save_all=True, append_images=images[1:])
    for command in ("check", "predict"):
        arguments = (pages,) if command == "check" else (bench.run, pages, "--output", bench.folder / "out-pages")
        yield expected(f"several pages, {command}", bench.cavga(command, *arguments), codes=(0, 3, 4), says="page")
    thumbnails = save_good(bench.folder / "nas", 3)
    save(thumbnails / "@eaDir/000.png/SYNOPHOTO_THUMB_S.jpg", part(9), "JPEG")
    done = bench.cavga("predict", bench.run, thumbnails, "--output", bench.folder / "out-nas")
    yield expected("thumbnails of a file server", done, codes=(0,), says="3 images scored")


def one_picture(bench: Bench) -> Iterator[Trial]:
    """One picture that cannot be drawn: its line says so, the rest is done."""
    photographs = save_good(bench.folder / "long", 3)
    save(photographs / f"{'x' * 247}.png", part(5))
    output = bench.folder / "out"
    done = bench.cavga("predict", bench.run, photographs, "--output", output, "--maps", "--overlays")
    yield _rest_is_done("a name of 251 characters", done, output, 4)
    photographs = save_good(bench.folder / "blocked", 3)
    output = bench.folder / "out-blocked"
    (output / "overlays/001.png").mkdir(parents=True)
    (output / "overlays/001.png/mine.txt").write_text("x", encoding="utf-8")
    done = bench.cavga("predict", bench.run, photographs, "--output", output, "--overlays")
    yield _rest_is_done("a folder in the place of a picture", done, output, 3)
    for height, width in ((1, 1), (1, 900), (900, 1), (100, 2000), (2000, 100)):
        save(bench.folder / f"shapes/{width}x{height}.png", np.full((height, width, 3), 100, dtype=np.uint8))
    output = bench.folder / "out-shapes"
    done = bench.cavga(
        "predict", bench.run, bench.folder / "shapes", "--output", output, "--maps", "--overlays", "--coco"
    )
    yield _rest_is_done("pictures of one pixel and of one row", done, output, 5)


def _rest_is_done(what: str, done: Done, output: Path, count: int) -> Trial:
    lines = json_lines(output / "predictions.jsonl")
    if done.exit_code not in (0, 4) or len(lines) != count:
        return trial(what, done, WRONG, f"{len(lines)} lines of {count}")
    return trial(what, done)


ATTACKS = {
    "bad beside good": bad_beside_good,
    "masks": masks,
    "pixels": pixels,
    "copies and few": copies,
    "passed over": passed_over,
    "one picture of many": one_picture,
}
