"""`cavga predict` and `cavga train` of many categories and many images: flags -> cavga.scale -> what is printed."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from cavga.cli.flags import of_text
from cavga.cli.outcome import BAD_DATA, DONE, IN_PART, Outcome
from cavga.cli.parser import Rare
from cavga.cli.waiting import waiting_told
from cavga.errors import UsageError

if TYPE_CHECKING:
    from cavga.scale.scoring import Scorer, ScoringSummary


def add_scoring_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `cavga predict` for many images."""
    parser.add_argument(
        "--shard", metavar="I/N", default=None,
        help=Rare("score part I (from 0) of N into Parquet parts, and go on by what is done (docs/scale.md)"),
    )  # fmt: skip
    parser.add_argument(
        "--max-bad-share", type=of_text(_share), default=0.0, metavar="SHARE",
        help=Rare("end with exit code 0 if no larger share of the images cannot be read (default 0)"),
    )  # fmt: skip


def is_at_scale(args: argparse.Namespace) -> bool:
    """Whether the images are a list rather than files and folders as `predict_to_folder` takes them."""
    from cavga.scale.storage import is_url
    from cavga.scale.work_list import is_manifest

    sources = [str(source) for source in args.images]
    is_list = any(is_url(source) or is_manifest(source) for source in sources)
    return is_list or args.shard is not None or is_url(str(args.output))


def predict_at_scale(args: argparse.Namespace) -> Outcome:
    """`cavga predict` of a list."""
    from cavga.scale.scoring import ScoringOutput, check_scoring, score_shard, score_to_lines
    from cavga.scale.work_list import shard_of

    if args.overlays or args.coco:
        raise UsageError("--overlays and --coco are for files and folders without --shard: leave them out")
    if len(args.images) != 1:
        raise UsageError(f"expected one folder, manifest or URL, got {len(args.images)}: list them in a manifest")
    source, output = str(args.images[0]), str(args.output)
    shard = None if args.shard is None else shard_of(args.shard)
    what = ScoringOutput(args.threshold, args.maps)
    check_scoring(source, output, what)
    scorer = _scorer(args)
    with waiting_told(enabled=not args.json) as progress:
        if shard is None:
            summary = score_to_lines(scorer, source, output, what=what, progress=progress)
        else:
            summary = score_shard(scorer, source, output, shard=shard, what=what, progress=progress)
    return _scoring_outcome(summary, output, args.max_bad_share)


def bad_share_code(bad: int, images: int, most: float) -> int:
    """The exit code of scoring, by how many images could not be read."""
    if bad <= most * images:
        return DONE
    return BAD_DATA if bad == images else IN_PART


def _scorer(args: argparse.Namespace) -> "Scorer":
    from cavga.inference.detector import AnomalyDetector
    from cavga.scale.scoring import OneModel

    return OneModel(AnomalyDetector.load(args.model, device=args.device, runs_code=args.allow_pt2_which_runs_code))


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


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share < 1:
        raise UsageError(f"expected a share from 0 to below 1, such as 0.001, got {text!r}")
    return share
