"""Damaged images and images that are made to hurt, by the hundred in one `cavga predict` and one `cavga check`."""

import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from benchmarks.faults.launcher import Done
from benchmarks.faults.pictures import encoded, part, save
from benchmarks.faults.trials import ALTERED, READ, REFUSED, WRONG, Bench, Trial, fault_of, json_lines, trial

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Pillow's name, suffix, options, and whether a changed byte of the pixels shows (a checksum).
FORMATS: dict[str, tuple[str, dict[str, Any], bool]] = {
    "PNG": (".png", {}, True),
    "JPEG": (".jpg", {"quality": 90}, False),
    "TIFF": (".tif", {"compression": "tiff_lzw"}, False),
    "WEBP": (".webp", {}, False),
    "BMP": (".bmp", {}, False),
    "GIF": (".gif", {}, False),
    "PPM": (".ppm", {}, False),
}
TOLERANCE = 1e-5  # of a score: what a batch of another size changes
BATCH = 100  # mutants a command


def bits(bench: Bench) -> Iterator[Trial]:
    """One to eight bits flipped, anywhere in the file."""
    for name in list(FORMATS)[: bench.count(len(FORMATS), 3)]:
        yield from _mutated(bench, name, "bits", bench.count(1000, 20), flipped)


def cuts(bench: Bench) -> Iterator[Trial]:
    """Files that end early, as after a copy that was stopped."""
    for name in list(FORMATS)[: bench.count(len(FORMATS), 3)]:
        yield from _mutated(bench, name, "cut", bench.count(230, 10), cut_off)


def splices(bench: Bench) -> Iterator[Trial]:
    """The head of one format before the body of another, and runs of random or repeated bytes."""
    others = [encoded(part(7), name, **options) for name, (_, options, _) in FORMATS.items()]

    def splice(content: bytes, random: Random) -> bytes:
        at = random.randrange(1, min(200, len(content)))
        if random.random() < 0.5:
            return random.choice(others)[:at] + content[at:]
        run = random.choice([random.randbytes(16), b"\0" * 16, b"\xff" * 16, content[:64]])
        return content[:at] + run + content[at + len(run) :]

    for name in list(FORMATS)[: bench.count(len(FORMATS), 3)]:
        yield from _mutated(bench, name, "splice", bench.count(230, 10), splice)


def bombs(bench: Bench) -> Iterator[Trial]:
    """Small files that say they are huge: each is named, and the picture beside it is scored."""
    for name, content in _bombs().items():
        folder = bench.folder / name.partition(".")[0]
        save(folder / "ok.png", part(1))
        (folder / name).write_bytes(content)
        for command in ("predict", "check")[: bench.count(2, 1)]:
            yield _bomb(bench, folder, name, command)


def _bomb(bench: Bench, folder: Path, name: str, command: str) -> Trial:
    what = f"{name} ({(folder / name).stat().st_size} bytes), {command}"
    if command == "check":
        return trial(what, bench.cavga("check", folder))
    output = folder.with_name(f"{folder.name}-out")
    done = bench.cavga("predict", bench.run, folder, "--output", output)
    lines = json_lines(output / "predictions.jsonl")
    scored = {Path(line["path"]).name for line in lines if line["error"] is None}
    if "ok.png" not in scored:
        return trial(what, done, WRONG, "the picture beside it was not scored")
    if name in scored:
        return trial(what, done, WRONG, "scored, though most of its pixels are not there")
    return trial(what, done, REFUSED)


def _bombs() -> dict[str, bytes]:
    tiff = "strips.tif"
    return {
        "square.png": _png(60_000, 60_000, b"\0" * 100),
        "row.png": _png(100_000_000, 1, b"\0" * 100),
        "column.png": _png(1, 100_000_000, b"\0" * 100),
        "thin.png": _png(16, 9_000_000, zlib.compress(b"\0" * 1000)),
        "chunk.png": _png(8, 8, b"\0" * 20, size=1 << 30),
        "square.bmp": b"BM"
        + struct.pack("<IHHIIiiHHIIiiII", 154, 0, 0, 54, 40, 60_000, 60_000, 1, 24, *[0] * 6) + b"\0" * 100,
        "square.gif": b"GIF89a" + struct.pack("<HHBBB", 65_535, 65_535, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
        + b"," + struct.pack("<HHHHB", 0, 0, 65_535, 65_535, 0) + b"\x02\x02\x44\x01\x00;",
        "square.webp": _webp(16_383, 16_383),
        tiff: _tiff(20_000, 20_000),
        "long.tif": _tiff(1, 150_000_000),
    }  # fmt: skip


def _png(width: int, height: int, pixels: bytes, *, size: int | None = None) -> bytes:
    def chunk(name: bytes, body: bytes, length: int | None = None) -> bytes:
        length = len(body) if length is None else length
        return struct.pack(">I", length) + name + body + struct.pack(">I", zlib.crc32(name + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(pixels), size)
    return PNG_SIGNATURE + chunk(b"IHDR", head) + body + chunk(b"IEND", b"")


def _webp(width: int, height: int) -> bytes:
    """The lossless one with its header alone."""
    head = b"\x2f" + struct.pack("<I", (width - 1) | (height - 1) << 14) + b"\0" * 16
    body = b"WEBPVP8L" + struct.pack("<I", len(head)) + head + b"\0" * (len(head) % 2)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _tiff(width: int, height: int) -> bytes:
    """Deflated grey strips, of which one is there and the others point at it or at nothing."""
    rows = min(height, 64)
    strip = zlib.compress(b"\x80" * (width * rows))
    count = -(-height // rows)
    num_entries, start = 9, 8
    strip_at = start + 2 + num_entries * 12 + 4
    offsets_at = strip_at + len(strip)
    counts_at = offsets_at + 4 * count
    entries = [
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 8), (262, 3, 1, 1),
        (273, 4, count, offsets_at), (277, 3, 1, 1), (278, 4, 1, rows), (279, 4, count, counts_at),
    ]  # fmt: skip
    directory = struct.pack("<H", num_entries) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
    offsets = struct.pack(f"<{count}I", strip_at, *[0] * (count - 1))
    counts = struct.pack(f"<{count}I", len(strip), *[0] * (count - 1))
    return b"II*\0" + struct.pack("<I", start) + directory + b"\0" * 4 + strip + offsets + counts


def flipped(content: bytes, random: Random) -> bytes:
    """With one to eight bits flipped."""
    changed = bytearray(content)
    for _ in range(random.choice([1, 1, 2, 8])):
        changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def cut_off(content: bytes, random: Random) -> bytes:
    """Its beginning."""
    return content[: random.randrange(len(content))]


def _mutated(
    bench: Bench, name: str, how: str, count: int, mutate: Callable[[bytes, Random], bytes]
) -> Iterator[Trial]:
    """`count` damaged files of one format, in commands of a hundred, beside the sound file that they are made of."""
    suffix, options, has_checksum = FORMATS[name]
    sound = encoded(part(3), name, **options)
    for first in range(0, count, BATCH):
        folder = bench.folder / f"{name}-{how}-{first}"
        folder.mkdir()
        (folder / f"000{suffix}").write_bytes(sound)
        made = {}
        for number in range(first, min(count, first + BATCH)):
            made[f"m{number:04d}{suffix}"] = content = mutate(sound, bench.random)
            (folder / f"m{number:04d}{suffix}").write_bytes(content)
        output = folder.with_name(f"{folder.name}-out")
        done = bench.cavga("predict", bench.run, folder, "--output", output)
        yield from _judged(
            done,
            fault_of(bench.cavga("check", folder)),
            json_lines(output / "predictions.jsonl"),
            f"000{suffix}",
            made,
            f"{name} {how}",
            may_alter=not has_checksum and how != "cut",
        )


def _judged(
    done: Done,
    fault_of_check: str,
    lines: list[dict[str, Any]],
    sound: str,
    made: dict[str, bytes],
    what: str,
    *,
    may_alter: bool,
) -> Iterator[Trial]:
    by_name = {Path(line["path"]).name: line for line in lines}
    fault = fault_of(done) or fault_of_check
    expected = by_name.get(sound, {}).get("score")
    if not fault and expected is None:
        fault = f"the sound picture was not scored: {done.last_words}"
    for name, content in made.items():
        line, label = by_name.get(name), f"{what} {name}"
        if fault or line is None:
            yield Trial(label, WRONG, fault or "there is no line of it", done.seconds, done.peak_bytes)
            continue
        # The head of another format makes a file of that format, which may have no checksum.
        is_checked = content.startswith(PNG_SIGNATURE)
        outcome, why = _outcome(line, expected, may_alter=may_alter or not is_checked)
        yield Trial(label, outcome, why, done.seconds, done.peak_bytes)


def _outcome(line: dict[str, Any], expected: float, *, may_alter: bool) -> tuple[str, str]:
    if line["error"] is not None:
        return (REFUSED, "") if line["score"] is None else (WRONG, "an error and a score")
    if not isinstance(line["score"], float) or not np.isfinite(line["score"]):
        return WRONG, f"scored {line['score']}"
    if abs(line["score"] - expected) <= TOLERANCE * max(1.0, abs(expected)):
        return READ, ""
    return (ALTERED, "") if may_alter else (WRONG, f"scored {line['score']:.4f}, {expected:.4f} when it was whole")


ATTACKS = {"flipped bits": bits, "cut off": cuts, "spliced": splices, "bombs": bombs}
