"""Damaged tables and settings: manifests, predictions, scores, TOML, maps, and the files of published data sets."""

import gzip
import json
import struct
from collections.abc import Iterator

import numpy as np

from benchmarks.faults.models import DEEP, LONG
from benchmarks.faults.pictures import part, save, save_good
from benchmarks.faults.trials import ALTERED, WRONG, Bench, Trial, expected, json_lines, trial

TRAIN = ("--variant", "d-u", "--weights", "none", "--image-size", "32", "--epochs", "1", "--device", "cpu")


def manifests(bench: Bench) -> Iterator[Trial]:
    """A user's manifest with changed bytes, cells and lines; and as Excel and pandas write it."""
    save_good(bench.folder / "img", 12)
    rows = "".join(f"img/{number:03d}.png,0,,train,part,,\n" for number in range(12))
    text = f"image,label,mask,split,category,group,defect_type\n{rows}"
    file = bench.folder / "m.csv"
    for number in range(bench.count(60, 8)):
        file.write_bytes(_mutated(bench, text.encode()))
        yield _read_or_refused(f"manifest {number}", bench, "check", file)
    for what, content, codes, says in _written_manifests(text):
        file.write_bytes(content)
        yield expected(f"manifest: {what}", bench.cavga("check", file), codes=codes, says=says)


def _written_manifests(text: str) -> Iterator[tuple[str, bytes, tuple[int, ...], str]]:
    yield (
        "byte order mark, CRLF, backslashes",
        b"\xef\xbb\xbf" + text.replace("img/", " img\\").replace("\n", "\r\n").encode(),
        (0,),
        "",
    )
    yield "semicolons", text.replace(",", ";").encode(), (0, 3), ""
    yield "other letters in capitals", text.replace("img/", "IMG/").encode(), (3,), ""
    yield "one picture in train and test", (text + "./img/000.png,0,,test,part,,\n").encode(), (0, 3), "img/000.png"
    yield "a null byte", text.encode().replace(b"000", b"0\0000"), (3,), ""
    yield "UTF-16", text.encode("utf-16"), (0,), ""
    yield "a cell of 200 kB", text.encode() + b"x" * 200_000 + b",0\n", (3,), ""
    yield "an open quote", text.encode() + b'"img/000.png,0\n', (3,), ""
    yield "label 2", text.replace(",0,", ",2,", 1).encode(), (3,), "label"
    yield "no lines", b"", (3,), "image"
    yield "its head alone", b"image,label\n", (3,), ""


def predictions(bench: Bench) -> Iterator[Trial]:
    """predictions.jsonl as `cavga drift` and as an output folder that is written again."""
    output = bench.folder / "out"
    bench.cavga("predict", bench.run, bench.data / "test", "--output", output, "--overlays")
    file = output / "predictions.jsonl"
    content = file.read_bytes()
    line = json.loads(content.splitlines()[0])
    crafted = [json.dumps({**line, "score": value}).encode() for value in (None, "x", float("nan"), True, [], 1e400)]
    crafted += [b"[" * DEEP + b"]" * DEEP, b'{"score": ' + b"9" * LONG + b"}", b"null", b"{}", b"\xff\n", b"", b"[]"]
    mutants = [_mutated(bench, content) for _ in range(bench.count(30, 5))]
    for number, damaged in enumerate([*mutants, *(made + b"\n" + content for made in crafted), *crafted]):
        file.write_bytes(damaged)
        yield _read_or_refused(f"predictions.jsonl {number}", bench, "drift", file, "--against", bench.run)
        done = bench.cavga("predict", bench.run, bench.data / "test/good", "--output", output)
        yield expected(f"predict over predictions.jsonl {number}", done, codes=(0, 1, 2))


def escapes(bench: Bench) -> Iterator[Trial]:
    """An old predictions.jsonl that names files elsewhere: the next run must not remove them."""
    output, outside = bench.folder / "out", bench.folder / "outside.png"
    for name in (
        "../outside.png",
        str(outside),
        "overlays/../../outside.png",
        "overlays/link/outside.png",
        "/etc/x.png",
    ):
        save(outside, part(1))
        bench.cavga("predict", bench.run, bench.data / "test/good", "--output", output, "--overlays")
        file = output / "predictions.jsonl"
        link = output / "overlays/link"
        if not link.exists():
            link.symlink_to(bench.folder)
        lines = [{**line, "overlay": name} for line in json_lines(file)]
        file.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
        done = bench.cavga("predict", bench.run, bench.data / "test/good", "--output", output, "--overlays")
        what = f"an overlay called {name}"
        yield (
            trial(what, done) if outside.exists() else trial(what, done, WRONG, "removed a file outside of its folder")
        )


def settings(bench: Bench) -> Iterator[Trial]:
    """TOML for --config with changed bytes and with what no editor writes."""
    content = (bench.run / "config.toml").read_bytes()
    file = bench.folder / "c.toml"
    crafted = {
        "deep": b"[data]\nimage_size = " + b"[" * DEEP + b"]" * DEEP,
        "deep tables": b"a" + b".a" * DEEP + b" = 1\n",
        "a long number": b"[training]\nepochs = " + b"9" * LONG,
        "byte order mark": b"\xef\xbb\xbf" + content,
        "UTF-16": content.decode().encode("utf-16"),
        "NaN": b"[training]\nlearning_rate = nan\n",
        "infinite": b"[training]\nlearning_rate = inf\n",
        "negative": b"[training]\nepochs = -1\n",
        "a date": b"[training]\nepochs = 2020-01-01\n",
        "a picture": save(bench.folder / "picture.png", part(1)).read_bytes(),
        "empty": b"",
        "a folder's name": b'[data]\nroi = "."\n',
        "text": b"[model\n",
        "a table for a number": b"[training.epochs]\nx = 1\n",
        "a number for a table": b"training = 1\n",
        "huge": b"[model]\nlatent_channels = 1000000000\n",
    }
    mutants = {f"mutant {number}": _mutated(bench, content) for number in range(bench.count(30, 4))}
    empty = bench.folder / "nothing"  # so that what is read ends at the data
    empty.mkdir()
    for what, damaged in {**crafted, **mutants}.items():
        file.write_bytes(damaged)
        done = bench.cavga("train", empty, "--output", bench.folder / "run", "--config", file)
        yield expected(f"config: {what}", done, codes=(1, 2, 3))


def scores_and_maps(bench: Bench) -> Iterator[Trial]:
    """Maps and scores that were made elsewhere, for `cavga evaluate --maps`."""
    names = [path.relative_to(bench.data / "test") for path in sorted((bench.data / "test").rglob("*.png"))]
    for number in range(bench.count(20, 3)):
        folder = bench.folder / f"maps{number}"
        for position, name in enumerate(names):
            path = folder / name.with_suffix(".npy")
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, np.random.default_rng(position).random((48, 48), dtype=np.float32))
        target = folder / bench.random.choice(names).with_suffix(".npy")
        target.write_bytes(_array_file(bench, target.read_bytes(), number))
        yield _read_or_refused(f"map {number}", bench, "evaluate", "--maps", folder, bench.data)
    good = "image,score\n" + "".join(f"test/{name.as_posix()},{position}\n" for position, name in enumerate(names))
    for number in range(bench.count(12, 3)):
        (bench.folder / "s.csv").write_bytes(_mutated(bench, good.encode()))
        arguments = ("evaluate", "--maps", bench.folder / "maps0", "--scores", bench.folder / "s.csv", bench.data)
        yield _read_or_refused(f"scores {number}", bench, *arguments)


def _array_file(bench: Bench, content: bytes, number: int) -> bytes:
    """A .npy of another kind, or with changed bytes."""
    import io

    head = b"\x93NUMPY\x01\x00"

    def header(text: str) -> bytes:
        return head + struct.pack("<H", len(text)) + text.encode()

    values = np.full((48, 48), np.nan, dtype=np.float32)
    buffer = io.BytesIO()
    np.save(buffer, values)
    crafted = [
        buffer.getvalue(),
        header("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }") + b"cposix\nsystem\n(S'true'\ntR.",
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000, 1000000), }"),
        header("(" * 5000 + ")" * 5000),
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 5), }"),
        content[:100],
        b"",
        header("{'descr': '<f4', 'fortran_order': False, 'shape': " + "9" * LONG + ", }"),
    ]
    return crafted[number] if number < len(crafted) else _mutated(bench, content)


def published(bench: Bench) -> Iterator[Trial]:
    """MNIST's files with changed bytes, with wrong counts and with a gzip stream that never ends."""
    folder = bench.folder / "MNIST"
    folder.mkdir()
    pictures = np.stack([part(number, side=28)[..., 0] for number in range(20)])
    images = struct.pack(">IIII", 0x803, 20, 28, 28) + pictures.tobytes()
    labels = struct.pack(">II", 0x801, 20) + bytes(number % 10 for number in range(20))
    for number in range(bench.count(30, 4)):
        for name, content in (("images-idx3-ubyte", images), ("labels-idx1-ubyte", labels)):
            for split in ("train", "t10k"):
                damaged = _mutated(bench, content) if bench.random.random() < 0.5 else content
                (folder / f"{split}-{name}").write_bytes(damaged)
        yield _read_or_refused(f"MNIST {number}", bench, "check", folder, "--normal-class", "3")
    for what, content in _idx_files(images).items():
        for split in ("train", "t10k"):
            (folder / f"{split}-images-idx3-ubyte").unlink(missing_ok=True)
            (folder / f"{split}-images-idx3-ubyte.gz").write_bytes(content)
        done = bench.cavga("check", folder, "--normal-class", "3")
        yield expected(f"MNIST: {what}", done, codes=(1, 2, 3))


def _idx_files(images: bytes) -> dict[str, bytes]:
    return {
        "gzip, cut off": gzip.compress(images, mtime=0)[:-200],
        "gzip with a changed byte": gzip.compress(images, mtime=0)[:100] + b"x" + gzip.compress(images, mtime=0)[101:],
        "not gzip": images,
        "a count of 2^32 - 1": gzip.compress(struct.pack(">IIII", 0x803, 2**32 - 1, 28, 28), mtime=0),
        "3 GB of zeros": gzip.compress(bytes(3_000_000), mtime=0) * 1000,
    }


def _mutated(bench: Bench, content: bytes) -> bytes:
    """A changed, lost, doubled or foreign part of a text or table."""
    random = bench.random
    at = random.randrange(len(content))
    length = random.randrange(1, 30)
    return random.choice(
        [
            lambda: content[:at] + bytes([content[at] ^ 1 << random.randrange(8)]) + content[at + 1 :],
            lambda: content[:at],
            lambda: content[:at] + content[at + length :],
            lambda: content[:at] + content[at : at + length] * 2 + content[at + length :],
            lambda: (
                content[:at]
                + random.choice([b"\0", b"\xff", b'"', b",", b"\n", b"\x1b[31m", b"9" * LONG])
                + content[at:]
            ),
        ]
    )()


def _read_or_refused(what: str, bench: Bench, *arguments: object) -> Trial:
    """Text has no checksum: what is read may be another table, if it is one."""
    done = bench.cavga(*arguments)
    return trial(what, done, ALTERED if done.exit_code == 0 else None)


ATTACKS = {
    "manifests": manifests,
    "predictions.jsonl": predictions,
    "names in predictions.jsonl": escapes,
    "settings": settings,
    "maps and scores made elsewhere": scores_and_maps,
    "files of MNIST": published,
}
