"""`cavga serve`: score photographs that come over HTTP."""

import argparse
from pathlib import Path

from cavga.cli.console import note
from cavga.cli.flags import add_device_flag
from cavga.cli.outcome import Outcome
from cavga.cli.parser import Rare
from cavga.errors import MissingExtraError, UsageError


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "example: cavga serve runs/screw nut=runs/nut-2 --port 8000"
    parser.add_argument(
        "models", nargs="*", metavar="MODEL", help="run folder or exported file; NAME=MODEL gives it another name"
    )
    parser.add_argument(
        "--projects", type=Path, default=Path("cavga-projects"), metavar="DIR",
        help="where the page at / keeps its projects (default cavga-projects)",
    )  # fmt: skip
    parser.add_argument("--no-page", action="store_true", help="leave the page out: only the models are served")
    parser.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="default 127.0.0.1: this machine alone")
    parser.add_argument("--port", type=int, default=8000, metavar="N", help="default 8000; 0: any that is free")
    parser.add_argument(
        "--token-file", type=Path, default=None, metavar="FILE",
        help="who asks has to send what stands in it; default: the variable CAVGA_TOKEN",
    )  # fmt: skip
    parser.add_argument(
        "--insecure", action="store_true", help=Rare("listen on other addresses than this machine's without a token")
    )
    for flag, kind, default, what in (
        ("--max-body-mb", float, 32.0, "largest request, in MiB"),
        ("--max-megapixels", float, 50.0, "largest photograph, in millions of pixels"),
        ("--deadline", float, 10.0, "seconds within which a request is answered, or refused"),
        ("--queue", int, 64, "requests at once; one more is refused"),
        ("--max-models", int, 4, "models in memory at once"),
    ):
        parser.add_argument(flag, type=kind, default=default, metavar="N", help=Rare(f"{what}; default {default:g}"))
    add_device_flag(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> Outcome:
    try:
        from cavga.service.meters import Meters
        from cavga.service.server import serve
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"cavga serve needs {error.name}: pip install 'cavga[serve]'") from error
    from cavga.service.settings import MIB, ServiceSettings, read_token
    from cavga.service.shelf import Shelf, named_models

    if args.no_page and not args.models:
        raise UsageError("nothing to serve: expected a MODEL, or the page without --no-page")
    settings = ServiceSettings(
        host=args.host,
        port=args.port,
        token=read_token(args.token_file),
        is_insecure=args.insecure,
        max_body_bytes=int(args.max_body_mb * MIB),
        max_pixels=int(args.max_megapixels * 1e6),
        deadline=args.deadline,
        queue=args.queue,
        max_models=args.max_models,
        projects=None if args.no_page else args.projects,
    )
    paths = named_models(args.models)
    meters = Meters()
    shelf = Shelf(paths, max_models=settings.max_models, device=args.device, meters=meters)
    what = ", ".join([*([] if args.no_page else [f"the page of {args.projects}/"]), *paths])
    serve(shelf, settings, lambda address: note(f"cavga: serving {what} on {address}"))
    counts = meters.totals()
    lines = [f"{counts['answered']} requests answered, {counts['refused']} refused, {counts['images']} images scored"]
    return Outcome(lines, counts)
