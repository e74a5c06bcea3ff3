"""Damaged and foreign models: no flipped bit may change a score, and nothing in a file may run."""

import json
import shutil
import zipfile
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

from benchmarks.faults.launcher import Done
from benchmarks.faults.pictures import encoded, part, save_bad, save_good
from benchmarks.faults.trials import READ, REFUSED, WRONG, Bench, Trial, json_lines, trial

DEEP = 20_000  # levels of nested lists
LONG = 5_000  # digits of a number
PAYLOAD = b"cposix\nsystem\n(S'touch %s'\ntR."  # a pickle that runs a program


def onnx_alone(bench: Bench) -> Iterator[Trial]:
    """One bit of a model.onnx that has no report beside it."""
    yield from _bits(bench, bench.run / "model.onnx", bench.count(150, 8), keep=("model.onnx",))


def onnx_with_report(bench: Bench) -> Iterator[Trial]:
    """One bit of a model.onnx beside its report, or of the report."""
    files = ("model.onnx", "model.onnx.json")
    yield from _bits(bench, bench.run / "model.onnx", bench.count(30, 4), keep=files)
    yield from _bits(bench, bench.run / "model.onnx.json", bench.count(30, 4), keep=files)


def run_folder(bench: Bench) -> Iterator[Trial]:
    """One bit of every other file that prediction reads in a run."""
    _calibrate(bench)
    for name, count in (("model.json", 50), ("model.onnx", 20), ("model.onnx.json", 20), ("calibration.json", 30)):
        if (bench.run / name).is_file():  # a copy without its report is as good
            yield from _bits(bench, bench.run / name, bench.count(count, 2), keep=())


def weights(bench: Bench) -> Iterator[Trial]:
    """One bit of the weights of a run without exported graph, which torch reads, or of what describes them."""
    for name, count in (("model.safetensors", 30), ("model.json", 10), ("config.toml", 10)):
        yield from _bits(
            bench, bench.run / name, bench.count(count, 3), keep=(), without=("model.onnx", "model.onnx.json")
        )


def cuts(bench: Bench) -> Iterator[Trial]:
    """Model files that end early."""
    for name in ("model.onnx", "model.onnx.json", "model.json", "calibration.json"):
        _calibrate(bench)
        content = (bench.run / name).read_bytes()
        for _ in range(bench.count(10, 2)):
            size = bench.random.randrange(len(content))
            yield _of_run(bench, name, content[:size], f"{name} cut to {size} bytes")


def foreign(bench: Bench) -> Iterator[Trial]:
    """Files of other kinds where a model or its description was expected."""
    _calibrate(bench)
    for name in ("model.onnx", "model.onnx.json", "model.json", "calibration.json"):
        for what, content in _foreign_contents().items():
            yield _of_run(bench, name, content, f"{name} is {what}", may_be_ignored=False)
    for suffix in (".onnx", ".xml", ".pt2", ".safetensors", ".pth", ""):
        for what, content in _foreign_contents().items():
            model = bench.folder / f"foreign{suffix}"
            model.write_bytes(content)
            done = bench.cavga("predict", model, _photographs(bench), "--output", bench.folder / "out")
            yield _refused(f"foreign{suffix} is {what}", done)


def json_structure(bench: Bench) -> Iterator[Trial]:
    """Descriptions that are JSON, but with values of other kinds in the places of the right ones."""
    _calibrate(bench)
    for name in ("model.json", "calibration.json", "model.onnx.json"):
        content = json.loads((bench.run / name).read_text(encoding="utf-8"))
        places = list(_places(content))
        for _ in range(bench.count(30, 6)):
            place, value = bench.random.choice(places), bench.random.choice(_wrong_values())
            changed = _changed(content, place, value)
            text = changed.replace('"@deep"', "[" * DEEP + "]" * DEEP).replace('"@long"', "9" * LONG)
            yield _of_run(bench, name, text.encode(), f"{name}: {'/'.join(map(str, place))} is {value!r}")


def programs(bench: Bench) -> Iterator[Trial]:
    """Archives and pickles that would run a program: it must not run, whatever the command says."""
    mark = bench.folder / "ran"
    payload = PAYLOAD % str(mark).encode()
    for name, content in _programs(payload).items():
        model = bench.folder / name
        model.write_bytes(content)
        commands = {
            "predict": ("predict", model, _photographs(bench), "--output", bench.folder / "out"),
            "calibrate": ("calibrate", model, _photographs(bench)),
            "bundle": ("bundle", model, "--output", bench.folder / "bundle", "--platform", "linux_x86_64"),
            "train": ("train", _photographs(bench), "--output", bench.folder / "run", "--variant", "r-u",
                      "--image-size", 32, "--weights", model, "--device", "cpu"),
        }  # fmt: skip
        for command, arguments in list(commands.items())[: bench.count(4, 3)]:  # train takes torch
            done = bench.cavga(*arguments)
            what = f"{name}, {command}"
            yield trial(what, done, WRONG, "it ran") if mark.exists() else _refused(what, done)
            mark.unlink(missing_ok=True)
            shutil.rmtree(bench.folder / "run", ignore_errors=True)


def _programs(payload: bytes) -> dict[str, bytes]:
    def archive(*names: str) -> bytes:
        buffer = BytesIO()
        with zipfile.ZipFile(buffer, "w") as file:
            for name in names:
                file.writestr(name, payload)
        return buffer.getvalue()

    members = ("m/archive_format", "m/byteorder", "m/data.pkl", "m/.data/version", "m/version", "m/models/model.json",
               "m/data/weights/model.pt", "m/data/constants/model.pt", "m/data/sample_inputs/model.pt",
               "serialized_state_dict.pt", "serialized_constants.pt", "serialized_exported_program.json",
               "serialized_example_inputs.pt", "version")  # fmt: skip
    return {
        "p.pt2": archive(*members), "p.pth": payload, "zip.pth": archive("m/data.pkl", "m/version", "m/byteorder"),
        "p.pt": payload, "p.onnx": payload, "p.safetensors": payload, "p.pkl": payload,
    }  # fmt: skip


def _calibrate(bench: Bench) -> None:
    if not (bench.run / "calibration.json").is_file():
        good = save_good(bench.folder / "new-lamp", 6, first=5000)
        bench.cavga("calibrate", bench.run, good)


def _photographs(bench: Bench) -> Path:
    folder = bench.folder / "photographs"
    if not folder.is_dir():
        save_good(folder, 2, first=3000)
        save_bad(folder / "bad", 2)
    return folder


def _bits(
    bench: Bench, file: Path, count: int, *, keep: tuple[str, ...], without: tuple[str, ...] = ()
) -> Iterator[Trial]:
    """`count` copies of a model, each with one bit of `file` flipped."""
    content = file.read_bytes()
    for _ in range(count):
        at, bit = bench.random.randrange(len(content)), bench.random.randrange(8)
        changed = bytearray(content)
        changed[at] ^= 1 << bit
        what = f"{file.name}: bit {bit} of byte {at}"
        yield _of_run(bench, file.name, bytes(changed), what, keep=keep, without=without)


def _of_run(
    bench: Bench,
    name: str,
    content: bytes,
    what: str,
    *,
    keep: tuple[str, ...] = (),
    without: tuple[str, ...] = (),
    may_be_ignored: bool = True,
) -> Trial:
    """Predict with a copy of the run in which one file is another: refused, or the same scores."""
    model = bench.folder / "model"
    shutil.rmtree(model, ignore_errors=True)
    leave_out = shutil.ignore_patterns("training", "report.html", "*.jsonl", "metrics.json", *without)
    shutil.copytree(bench.run, model, ignore=leave_out)
    for path in list(model.iterdir()) if keep else []:
        if path.name not in keep:
            path.unlink()
    used = model / "model.onnx" if keep else model
    sound = _scores(bench, used, f"sound-{'-'.join((*keep, *without)) or 'run'}")
    (model / name).write_bytes(content)
    done, found = _predicted(bench, used)
    if done.exit_code != 0:
        return _refused(what, done)
    if found != sound:
        return trial(what, done, WRONG, "other scores or decisions, without a word")
    return trial(what, done, READ) if may_be_ignored else trial(what, done, WRONG, "taken without a word")


def _scores(bench: Bench, model: Path, name: str) -> str:
    kept = bench.folder / f"{name}.json"
    if not kept.is_file():
        done, found = _predicted(bench, model)
        if done.exit_code != 0:
            raise RuntimeError(f"the sound model does not predict: {done.last_words}")
        kept.write_text(found, encoding="utf-8")
    return kept.read_text(encoding="utf-8")


def _predicted(bench: Bench, model: Path) -> tuple[Done, str]:
    """What predict says of the photographs: scores, thresholds, decisions and regions."""
    output = bench.folder / "out"
    shutil.rmtree(output, ignore_errors=True)
    done = bench.cavga("predict", model, _photographs(bench), "--output", output)
    found = json_lines(output / "predictions.jsonl")
    return done, json.dumps([{key: value for key, value in line.items() if key != "milliseconds"} for line in found])


def _refused(what: str, done: Done) -> Trial:
    if done.exit_code == 0:
        return trial(what, done, WRONG, "taken without a word")
    if len(done.err.strip().splitlines()) > 2:
        return trial(what, done, WRONG, f"{len(done.err.splitlines())} lines")
    return trial(what, done, REFUSED if done.exit_code in (1, 2, 3) else WRONG, "neither read nor refused")


def _foreign_contents() -> dict[str, bytes]:
    return {
        "empty": b"",
        "a PNG": encoded(part(1), "PNG"),
        "text": b"hello\n",
        "not UTF-8": b"\xff\xfe\xfa" * 50,
        "zeros": bytes(5_000),
        "a list": b"[1, 2]",
        "an empty object": b"{}",
        "deep": b"[" * DEEP + b"]" * DEEP,
        "deep objects": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
        "a long number": b'{"format_version": ' + b"9" * LONG + b"}",
        "NaN": b'{"format_version": NaN}',
        "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n",
    }


def _places(content: object, before: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The way to every value of a JSON object."""
    pairs = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in pairs:
        yield (*before, key)
        yield from _places(value, (*before, key))


def _wrong_values() -> list[object]:
    return [
        None,
        -1,
        1e308,
        float("nan"),
        float("inf"),
        "x",
        "",
        [],
        {},
        [[1]],
        True,
        "@deep",
        "@long",
        "../../x",
        2**70,
    ]


def _changed(content: object, place: tuple[str | int, ...], value: object) -> str:
    changed = json.loads(json.dumps(content))
    parent = changed
    for key in place[:-1]:
        parent = parent[key]
    parent[place[-1]] = value
    return json.dumps(changed)


ATTACKS: dict[str, Callable[[Bench], Iterator[Trial]]] = {
    "model.onnx alone, one bit": onnx_alone,
    "model.onnx and its report, one bit": onnx_with_report,
    "files of a run, one bit": run_folder,
    "weights for torch, one bit": weights,
    "cut off": cuts,
    "files of other kinds": foreign,
    "values of other kinds": json_structure,
    "programs in files": programs,
}
