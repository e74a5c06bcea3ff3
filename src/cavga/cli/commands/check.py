"""`cavga check`: list what is in a data set and everything wrong with it."""

import argparse
from pathlib import Path

from cavga.cli.flags import of_text, one_of
from cavga.cli.outcome import BAD_DATA, DONE, Outcome
from cavga.cli.waiting import waiting_told
from cavga.config.fields import parse_image_size
from cavga.config.schema import DataConfig
from cavga.data.readers.layouts import CLASS_LAYOUTS, LAYOUTS


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "example: cavga check photos/"
    parser.add_argument("data", type=Path, metavar="DATA", help="folder or manifest")
    parser.add_argument(
        "--layout", type=one_of("layout", tuple(LAYOUTS)), default=None, metavar="NAME",
        help=f"how the folder is laid out, where it is not recognised: one of {', '.join(LAYOUTS)}",
    )  # fmt: skip
    parser.add_argument("--category", default=None, help="which category, where there are several")
    parser.add_argument(
        "--normal-class", default=None, metavar="NAME", help="which class is normal, by name or number, of several"
    )
    parser.add_argument(
        "--image-size", type=of_text(parse_image_size), default=DataConfig.image_size, metavar="auto|N|HxW",
        help="size to train at, for the smallest defect that a map can show (default auto)",
    )  # fmt: skip
    parser.add_argument(
        "--tile", type=int, default=None, metavar="N",
        help="side of the tiles to train with, in pixels of a photograph, for the same",
    )  # fmt: skip
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> Outcome:
    from cavga.data.checked import check

    with waiting_told(enabled=not args.json) as progress:
        found = check(
            args.data, layout=args.layout, category=args.category, normal_class=args.normal_class,
            image_size=args.image_size, tile=args.tile, progress=progress,
        )  # fmt: skip
    catalog = found.catalog
    what = "normal class" if catalog.layout in CLASS_LAYOUTS else "category"
    lines = [f"{args.data}: layout {catalog.layout}" + (f", {what} {catalog.category}" if catalog.category else "")]
    lines += [f"  {name}: {count}" for name, count in found.counts.items()]
    lines += [] if found.visibility is None else [f"  {line}" for line in found.visibility.lines()]
    lines += [f"{item.severity}: {item.path}: {item.problem}; {item.remedy}" for item in found.findings]
    lines.append(f"{found.num_errors} errors, {found.num_warnings} warnings")
    return Outcome(lines, found.to_dict(), exit_code=BAD_DATA if found.num_errors else DONE)
