"""`cavga predict` and `cavga train` of many categories and many images: flags -> cavga.scale -> what is printed."""

import argparse
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from cavga.cli.flags import of_text, one_of
from cavga.cli.outcome import BAD_DATA, DONE, IN_PART, Outcome
from cavga.cli.parser import Rare
from cavga.cli.waiting import waiting_told
from cavga.errors import UsageError
from cavga.threads import limit_runtime_threads

if TYPE_CHECKING:
    from cavga.config.schema import RunConfig
    from cavga.scale.score_lists import Scorer, ScoringSummary

ENGINES = ("local", "ray")


def add_scoring_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `cavga predict` for many images."""
    parser.add_argument(
        "--shard", metavar="I/N", default=None,
        help=Rare("score part I (from 0) of N into Parquet parts, and go on by what is done (docs/scale.md)"),
    )  # fmt: skip
    parser.add_argument(
        "--models", type=Path, metavar="RUNS", default=None,
        help=Rare("in place of MODEL: score each image by RUNS/CATEGORY, by the manifest's column category or the "
                  "first folder of its path"),
    )  # fmt: skip
    add_engine_flags(parser, "worker")
    parser.add_argument(
        "--max-bad-share", type=of_text(_share), default=0.0, metavar="SHARE",
        help=Rare("end with exit code 0 if no larger share of the images cannot be read (default 0)"),
    )  # fmt: skip


def add_category_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `cavga train` for many categories."""
    parser.add_argument(
        "--categories", default=None, metavar="all|A,B",
        help=Rare("train each category of DATA, a folder of folders or a manifest, into RUN/CATEGORY, and go on by "
                  "what is done (docs/scale.md)"),
    )  # fmt: skip
    add_engine_flags(parser, "category")


def add_engine_flags(parser: argparse.ArgumentParser, what: str) -> None:
    """Add --engine and what one `what` takes there."""
    parser.add_argument(
        "--engine", type=one_of("engine", ENGINES), default=ENGINES[0], metavar="|".join(ENGINES),
        help=Rare("compute here (default), or on the Ray cluster that RAY_ADDRESS names, else on one of this machine"),
    )  # fmt: skip
    text = f"cores to compute with (default: all); ray: of a {what} (default 1)"
    parser.add_argument("--cpus", type=_count, default=None, metavar="N", help=Rare(text))
    parser.add_argument("--gpus", type=_number, default=None, metavar="N", help=Rare(f"ray: GPUs a {what} (default 0)"))


def settle_engine(args: argparse.Namespace, *, only_local: str | None = None) -> None:
    """Set the threads of this process; raises UsageError where flags of an engine would be of no effect.

    `only_local` says why another engine has nothing to do, if that is so.
    """
    if args.engine != ENGINES[0] and only_local is not None:
        raise UsageError(f"--engine {args.engine}: {only_local}, or leave --engine out")
    if args.engine == ENGINES[0] and args.gpus is not None:
        raise UsageError("--gpus is for --engine ray: leave it out, or say --device")
    if args.engine == ENGINES[0] and args.cpus is not None:
        limit_runtime_threads(args.cpus)


def train_at_scale(args: argparse.Namespace, config: "RunConfig") -> Outcome:
    """`cavga train` of many categories."""
    from cavga.scale.categories import ALL, SUMMARY_FILE, TABLE_FILE, one_after_the_other, train_categories

    chosen = None if args.categories == ALL else [name for name in args.categories.split(",") if name]
    if chosen == []:
        raise UsageError("--categories: expected all, or names separated by commas")
    if args.engine == "ray":
        from cavga.scale.ray_engine import on_ray

        each = on_ray(args.cpus or 1, args.gpus or 0)
    else:
        each = one_after_the_other
    with waiting_told(enabled=not args.json) as progress:
        rows = train_categories(
            args.data, args.output, config, chosen=chosen, each=each, with_export=args.export, progress=progress
        )
    failed = [f"{row.category}: {row.error}" for row in rows if row.error]
    cut = [f"{row.category}: {row.left_out} images that could not be read" for row in rows if row.left_out]
    sizes = [row.packed_bytes for row in rows if row.packed_bytes]
    lines = [
        f"{len(rows) - len(failed)} of {len(rows)} categories trained",
        f"summary: {args.output / SUMMARY_FILE}, as a table {args.output / TABLE_FILE}",
    ]
    if sizes:
        lines.append(
            f"packed models: {max(sizes) / 1e6:.1f} MB at most, {sum(sizes) / 1e6:.0f} MB in all, and the encoder"
        )
        lines.append(f"`cavga predict MANIFEST --models {args.output} --output DIR` uses them")
    exit_code = DONE if not failed + cut else BAD_DATA if len(failed) == len(rows) else IN_PART
    return Outcome(lines, {"rows": [vars(row) for row in rows]}, failed + cut, exit_code)


def is_at_scale(args: argparse.Namespace) -> bool:
    """Whether the images are a list rather than files and folders as `predict_to_folder` takes them."""
    from cavga.scale.storage import is_url
    from cavga.scale.work_list import is_manifest

    sources = _sources(args)
    is_list = any(is_url(source) or is_manifest(source) for source in sources)
    is_large = args.shard is not None or args.models is not None or args.engine != ENGINES[0]
    return is_list or is_large or is_url(str(args.output))


def predict_at_scale(args: argparse.Namespace) -> Outcome:
    """`cavga predict` of a list."""
    from cavga.scale.score_lists import ScoringOutput, check_scoring, score_shard, score_to_lines
    from cavga.scale.work_list import WHOLE, shard_of

    if args.overlays or args.coco:
        raise UsageError("--overlays and --coco are for files and folders without --shard: leave them out")
    sources, output = _sources(args), str(args.output)
    if len(sources) != 1:
        raise UsageError(f"expected one folder, manifest or URL, got {len(sources)}: list them in a manifest")
    source, shard = sources[0], None if args.shard is None else shard_of(args.shard)
    what = ScoringOutput(args.threshold, args.maps)
    check_scoring(source, output, what)
    load = _loader(args)
    with waiting_told(enabled=not args.json) as progress:
        if args.engine == "ray":
            from cavga.scale.ray_engine import score_on_ray

            summary = score_on_ray(load, source, output, shard=shard or WHOLE, what=what, cpus=args.cpus or 1,
                                   gpus=args.gpus or 0, progress=progress)  # fmt: skip
        elif shard is None:
            summary = score_to_lines(load(), source, output, what=what, progress=progress)
        else:
            summary = score_shard(load(), source, output, shard=shard, what=what, progress=progress)
    return _scoring_outcome(summary, output, args.max_bad_share)


def bad_share_code(bad: int, images: int, most: float) -> int:
    """The exit code of scoring, by how many images could not be read."""
    if bad <= most * images:
        return DONE
    return BAD_DATA if bad == images else IN_PART


def _sources(args: argparse.Namespace) -> list[str]:
    """What is to be scored: with --models the first argument is no model."""
    return [str(place) for place in ([] if args.models is None else [args.model]) + args.images]


def _loader(args: argparse.Namespace) -> "Callable[[], Scorer]":
    """What loads the models, here or in a worker."""
    if args.models is not None:
        from cavga.scale.loading import routed_models

        return partial(routed_models, args.models.absolute(), args.device)
    from cavga.scale.loading import one_model

    return partial(one_model, args.model, args.device, args.allow_pt2_which_runs_code)


def _scoring_outcome(summary: "ScoringSummary", output: str, most: float) -> Outcome:
    counts = summary.counts
    lines = [
        f"{counts.scored} images scored, {counts.anomalous} anomalous, {counts.bad} could not be read"
        + (f"; {summary.done_before} of them were done before" if summary.done_before else ""),
        f"scores: {output}",
    ]
    if 0 < counts.bad <= most * counts.images:
        lines.append(f"{summary.bad_share:.2%} could not be read, which --max-bad-share allows")
    result = {**vars(counts), "done_before": summary.done_before, "bad_share": summary.bad_share, "output": output}
    unnamed = counts.bad - len(summary.failed)
    more = (f"{unnamed} more, which the output names",) if unnamed else ()
    return Outcome(lines, result, (*summary.failed, *more), bad_share_code(counts.bad, counts.images, most))


def place_of(text: str) -> Path | str:
    """A path, or a URL as it is."""
    return text if "://" in text else Path(text)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a number from 1 on, got {text!r}")
    return int(text)


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number from 0 on, got {text!r}")
    return number


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share < 1:
        raise UsageError(f"expected a share from 0 to below 1, such as 0.001, got {text!r}")
    return share
