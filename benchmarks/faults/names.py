"""Names of files and folders that a terminal would obey, a page would run, or that are not text at all."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from benchmarks.faults.pictures import encoded, part, save_bad, save_category
from benchmarks.faults.tables import TRAIN
from benchmarks.faults.trials import WRONG, Bench, Trial, expected, json_lines, trial

NAMES: dict[str, bytes] = {
    "a newline": b"a\nb",
    "a tab and a return": b"a\tb\rc",
    "an escape sequence": b"a\x1b[31mred\x1b]0;title\x07",
    "one of 8 bits": b"a\xc2\x9b31m",
    "not UTF-8": b"Gr\xfc\xdfe",
    "251 characters": b"x" * 247,  # with .png
    "255 bytes of two-byte letters": "é".encode() * 125,
    "a leading blank": b" lead",
    "a trailing blank": b"trail ",
    "quotes": b"q\"u'o",
    "a script": b"<script>alert(1)<",
    "an entity": b"<b>x&amp;",
    "a comma and a semicolon": b"a,b;c",
    "braces and percent": b"100%s {x} $HOME `id`",
    "a leading dash": b"--maps",
    "text from right to left": "a\u202egnp.b".encode(),
    "emoji": "\U0001f600é".encode(),
    "a formula": b"=1+1",
    "a backslash": b"a\\b",
    "rich's markup": b"[red]x[nothing]",
    "a hash": b"a#b?c",
    "two stars": b"**",
    "a device of Windows": b"CON",
    "line separators": "a\u2028b\u0085c".encode(),
}
COMMANDS = ("check", "predict", "evaluate", "calibrate", "train")
SCRIPT = "<script>alert"


def pictures(bench: Bench) -> Iterator[Trial]:
    """A photograph of that name among others, in every command: the command goes through."""
    names = list(NAMES.items())
    for what, name in names[:: bench.count(1, 6)]:
        data = bench.folder / "data"
        shutil.rmtree(data, ignore_errors=True)
        save_category(data, num_train=6, num_good=3, num_bad=3)
        for folder in ("train/good", "test/good"):
            _write(data / folder, name + b".png", part(len(name) + 7000 + len(folder)))
        for command in COMMANDS[: bench.count(5, 3)]:
            yield _through(bench, f"a picture with {what}, {command}", command, data)


def damaged_pictures(bench: Bench) -> Iterator[Trial]:
    """A broken file of that name: its line names it, in characters that a terminal does not obey."""
    for what, name in list(NAMES.items())[:: bench.count(1, 6)]:
        data = bench.folder / "data"
        shutil.rmtree(data, ignore_errors=True)
        save_category(data, num_train=6, num_good=3, num_bad=3)
        with open(os.path.join(os.fsencode(data / "test/good"), name + b".png"), "wb") as file:  # noqa: PTH118, PTH123
            file.write(b"not a picture")
        done = bench.cavga("check", data)
        yield expected(f"a broken picture with {what}, check", done, codes=(3,))
        done = bench.cavga(
            "predict", bench.run, data / "test", "--output", bench.folder / "out", "--overlays", "--maps"
        )
        yield expected(f"a broken picture with {what}, predict", done, codes=(4,))


def folders(bench: Bench) -> Iterator[Trial]:
    """Data, model and output in a folder of that name."""
    for number, (what, name) in enumerate(list(NAMES.items())[:: bench.count(1, 8)]):
        if name in (b"--maps", b"CON") or len(name) > 200:
            continue
        root = bench.folder / os.fsdecode(name)
        save_category(root / "data", num_train=6, num_good=3, num_bad=3)
        for command in COMMANDS[: bench.count(5, 2)]:
            yield _through(bench, f"a folder with {what}, {command}", command, root / "data", output=root / "out")
        nothing = root / "nothing"
        for arguments in (("check", nothing), ("predict", nothing, root / "data", "--output", root / "out"),
                          ("train", nothing, "--output", root / "run"), ("evaluate", nothing, root / "data"),
                          ("drift", nothing, "--against", bench.run), ("export", nothing),
                          ("compare", nothing, nothing), ("check", root / "data", "--layout", os.fsdecode(name)),
                          ("train", root / "data", "--output", root / "run", "--config", nothing)):  # fmt: skip
            if number % 2:  # half of the names are enough here
                break
            done = bench.cavga(*arguments)
            yield expected(f"what is not there, with {what}, {arguments[0]}", done, codes=(1, 2, 3))
        shutil.rmtree(root)


def defect_types(bench: Bench) -> Iterator[Trial]:
    """A defect type of that name, which the report shows."""
    for what, name in list(NAMES.items())[:: bench.count(1, 8)]:
        if len(name) > 200:
            continue
        data = bench.folder / "data"
        shutil.rmtree(data, ignore_errors=True)
        save_category(data, num_train=2, num_good=3, num_bad=1)
        kind = os.fsdecode(name)
        save_bad(data / "test" / kind, 3, masks=data / "ground_truth" / kind)
        yield _through(bench, f"a defect type with {what}", "evaluate", data)


def _through(bench: Bench, what: str, command: str, data: Path, *, output: Path | None = None) -> Trial:
    """The command goes through, names nothing raw and writes no script into a page."""
    output = output or bench.folder / "out"
    shutil.rmtree(output, ignore_errors=True)
    arguments: dict[str, tuple[object, ...]] = {
        "check": (data,),
        "predict": (bench.run, data / "test", "--output", output, "--overlays", "--maps", "--coco"),
        "evaluate": (bench.run, data, "--output", output),
        "calibrate": (_copy(bench), data / "test/good"),
        "train": (data, "--output", output, "--no-export", *TRAIN),
    }
    done = bench.cavga(command, *arguments[command])
    # Too few images, no masks for a defect and the like are not what is asked here.
    found = expected(what, done, codes=(0,))
    if found.outcome == WRONG:
        return found
    for page in output.glob("*.html"):
        if SCRIPT in page.read_text(encoding="utf-8", errors="replace"):
            return trial(what, done, WRONG, f"{page.name} holds the script")
    for lines in output.glob("*.jsonl"):
        json_lines(lines)  # raises where one is none
    return found


def _copy(bench: Bench) -> Path:
    """The run, which calibration writes to."""
    copy = bench.folder / "copy"
    if not copy.is_dir():
        shutil.copytree(bench.run, copy)
    return copy


def _write(folder: Path, name: bytes, pixels: object) -> None:
    path = os.path.join(os.fsencode(folder), name)  # noqa: PTH118
    with open(path, "wb") as file:  # noqa: PTH123
        file.write(encoded(pixels, "PNG"))


ATTACKS = {
    "photographs": pictures,
    "broken photographs": damaged_pictures,
    "folders": folders,
    "defect types": defect_types,
}
