"""`cavga profile`: measure where the time of a prediction goes."""

import argparse
import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from cavga.cli.flags import add_device_flag
from cavga.cli.outcome import Outcome
from cavga.errors import UsageError


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "example: cavga profile runs/screw data/screw/test --output profile.json"
    parser.add_argument("model", type=Path, metavar="MODEL", help="run folder or exported file")
    parser.add_argument(
        "images", type=Path, nargs="*", metavar="IMAGE_OR_FOLDER", help="photographs; default: noise, 1024 x 1024 px"
    )
    parser.add_argument(
        "--batch-sizes", type=_batch_sizes, default=(1, 4, 16), metavar="N,N,..",
        help="images a forward pass, each of them timed (default 1,4,16)",
    )  # fmt: skip
    parser.add_argument(
        "--repeats", type=_at_least_one, default=100, metavar="N", help="predictions to time (default 100)"
    )
    parser.add_argument("--output", type=Path, default=None, metavar="FILE", help="write what --json prints to a file")
    add_device_flag(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> Outcome:
    if args.output is not None and args.output.is_dir():
        raise UsageError(f"--output {args.output} is a folder: expected a file to write")
    from cavga.output_lock import writing_file

    with nullcontext() if args.output is None else writing_file(args.output):
        return _profile(args)


def _profile(args: argparse.Namespace) -> Outcome:
    from cavga.atomic_files import atomic_write
    from cavga.monitoring.profile import profile_model

    result = profile_model(
        args.model, args.images, batch_sizes=args.batch_sizes, repeats=args.repeats, device=args.device
    )
    if args.output is not None:
        atomic_write(args.output, (json.dumps(result, indent=2) + "\n").encode())
    return Outcome(_lines(result), result)


def _lines(result: dict[str, Any]) -> list[str]:
    machine, what = result["machine"], "of yours"
    if result["is_noise"]:
        what = f"made of noise, {result['noise_size'][1]} x {result['noise_size'][0]} px"
    seen = "images"
    if machine["tile"] is not None:
        what += f", {result['pieces_per_photograph']:g} tiles of {machine['tile']} px each"
        seen = "tiles"
    height, width = machine["image_size"]
    threads = "" if machine["threads"] is None else f", {machine['threads']} threads"
    lines = [
        f"{machine['variant']} at {height} x {width}, engine {machine['engine']}, on {machine['processor']}, "
        f"{machine['cores']} cores{threads}",
        f"{result['photographs_timed']} predictions, one at a time, of {result['images']} photographs {what}",
        f"{'milliseconds':<14}{'p50':>10}{'p95':>10}{'p99':>10}",
    ]
    for name, values in result["milliseconds"].items():
        lines.append(f"{name:<14}{values['p50']:>10.2f}{values['p95']:>10.2f}{values['p99']:>10.2f}")
    lines.append(f"{'forward pass':<14}{f'{seen}/s':>10}{'ms':>10}")
    for batch in result["batches"]:
        name = f"batch of {batch['batch_size']}"
        lines.append(f"{name:<14}{batch['images_per_second']:>10.1f}{batch['milliseconds']:>10.2f}")
    peak = result["peak_mebibytes"]
    lines.append(f"peak memory of the process: {'not known on this platform' if peak is None else f'{peak:.0f} MiB'}")
    return lines


def _batch_sizes(text: str) -> tuple[int, ...]:
    return tuple(_at_least_one(part) for part in text.split(","))


def _at_least_one(text: str) -> int:
    if not text.strip().isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected whole numbers from 1 on, got {text!r}")
    return int(text)
