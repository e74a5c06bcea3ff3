"""The commands as functions, where no function of another package is that already.

`calibrate`, `compare`, `drift` and `profile` call what their commands call, and `train` shows what the command shows.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cavga.cli.console import logs_shown
from cavga.cli.waiting import waiting_told
from cavga.config.schema import RunConfig
from cavga.errors import MissingExtraError, UsageError
from cavga.evaluation.compare import compare_evaluations
from cavga.inference.prediction import Prediction
from cavga.marking.marks import Marked, mark_photographs, said_in, said_of, withdraw_marks
from cavga.monitoring.drift import as_dict, calibration_of, caveat, detect_drift, predictions_of, scores_of
from cavga.monitoring.operating_point import OperatingPoint, set_operating_point
from cavga.monitoring.profile import profile_model
from cavga.monitoring.recalibrate import CalibratedModel, calibrate_model
from cavga.runs.marks_file import BAD, GOOD

if TYPE_CHECKING:
    from cavga.marking.refit import Refitted
    from cavga.marking.suggest import Suggested


@dataclass(frozen=True, eq=False, repr=False)
class Found:
    """What a function found: `summary` in one line, `values` as its command's --json says them."""

    what: str
    summary: str
    values: Mapping[str, Any]

    def __repr__(self) -> str:
        return f"{self.what}: {self.summary}"

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain values."""
        return dict(self.values)


def calibrate(
    model: str | Path,
    photographs: str | Path | Iterable[str | Path] = (),
    *,
    false_alarm_rate: float | None = None,
    mask_false_alarm_rate: float | None = None,
    threshold: float | None = None,
    device: str = "auto",
) -> CalibratedModel | OperatingPoint:
    """Set a model's thresholds, and write them beside it: by photographs of good parts, kept scores, or as given.

    Without photographs the scores that the model keeps count, and a rate or a threshold has to be given. Raises as
    `calibrate_model` and `set_operating_point` do.
    """
    paths = _paths(photographs)
    if not paths:
        return set_operating_point(
            model, false_alarm_rate=false_alarm_rate, mask_false_alarm_rate=mask_false_alarm_rate, threshold=threshold
        )
    if threshold is not None:
        raise UsageError("a threshold takes no photographs: leave one of them out")
    return calibrate_model(
        model, paths, false_alarm_rate=false_alarm_rate, mask_false_alarm_rate=mask_false_alarm_rate, device=device
    )


def compare(a: str | Path, b: str | Path, output: str | Path | None = None) -> Found:
    """Whether one of two evaluations of the same test images is better: see `compare_evaluations`."""
    values = compare_evaluations(a, b, output)
    return Found("compare", values["verdict"], values)


def drift(predictions: str | Path | Iterable[Prediction], against: str | Path) -> Found:
    """Whether the scores of predictions, in the order of the photographs, are like those that set the thresholds.

    Takes predictions.jsonl, its folder, or the predictions themselves; `against` is the model that made them. Raises
    DataError without scores, ModelFileError for a model that keeps none.
    """
    is_written = isinstance(predictions, str | Path)
    found = predictions_of(Path(predictions)) if is_written else scores_of(predictions)  # type: ignore[arg-type]
    calibration = calibration_of(Path(against))
    seen = detect_drift(found.scores, calibration)
    reason = caveat(found, calibration)
    summary = seen.verdict if reason is None else f"{seen.verdict}; but {reason}"
    return Found("drift", summary, as_dict(seen, found, calibration))


def mark(
    run: str | Path,
    bad: str | Path | Iterable[str | Path] = (),
    good: str | Path | Iterable[str | Path] = (),
    *,
    defect_type: str = "",
    file: str | Path | None = None,
) -> Marked:
    """Mark photographs, or folders of them, as bad or good, or as a COCO file, labels.csv or predictions.jsonl says.

    `defect_type` names the defect of the bad ones. Raises as `mark_photographs` does.
    """
    said = [*said_of(_paths(bad), BAD, defect_type), *said_of(_paths(good), GOOD)]
    return mark_photographs(run, [*said, *(said_in(Path(file)) if file is not None else ())])


def withdraw(run: str | Path, photographs: str | Path | Iterable[str | Path]) -> Marked:
    """Take the marks of photographs back; raises DataError for one that is not marked."""
    return withdraw_marks(run, _paths(photographs))


def refit(
    run: str | Path, output: str | Path | None = None, *, force: bool = False, device: str = "auto"
) -> "Refitted":
    """Let a run learn its marks, as a new version that is used from then on, or as a new run in `output`.

    See `cavga.marking.refit.refit`.
    """
    from cavga.marking.refit import refit as refit_run

    return refit_run(run, output, force=force, device=device)


def suggest(
    run: str | Path, photographs: str | Path | Iterable[str | Path], *, count: int = 10, device: str = "auto"
) -> "Suggested":
    """Which photographs to mark next: see `cavga.marking.suggest.suggest_marks`."""
    from cavga.marking.suggest import suggest_marks

    return suggest_marks(run, _paths(photographs), count=count, device=device)


def profile(
    model: str | Path,
    images: str | Path | Iterable[str | Path] = (),
    *,
    batch_sizes: Sequence[int] = (1, 4, 16),
    repeats: int = 100,
    device: str = "auto",
) -> Found:
    """Where the time of a prediction goes: see `profile_model`."""
    values = profile_model(model, _paths(images), batch_sizes=batch_sizes, repeats=repeats, device=device)
    total = values["milliseconds"]["total"]
    summary = f"{total['p50']:.1f} ms a photograph, 95 % within {total['p95']:.1f}, on {values['machine']['processor']}"
    return Found("profile", summary, values)


def train(
    data: str | Path,
    output: str | Path,
    config: RunConfig | None = None,
    *,
    resume: bool = False,
    with_export: bool = True,
    progress: bool = False,
) -> Path:
    """Train on the good images of `data` and write a run folder to `output`; returns its path.

    `config` is what `make_config` gives, by default that of the preset recommended. `resume` goes on with a run that
    was stopped. Ends by writing the exported graph, RUN/model.onnx, unless `with_export` is False. `progress` shows on
    stderr what the command shows. Raises DataError before anything is written if an image cannot be read, UsageError
    if `output` already holds a run and `resume` is False, ResumeError if data or settings changed since.
    """
    try:
        from cavga.training.train import train as train_run
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise MissingExtraError("cavga.train needs torch: pip install 'cavga[train]'") from error

    with waiting_told(enabled=progress) as told, logs_shown(logging.INFO) if progress else nullcontext():
        return train_run(data, output, config, resume=resume, with_export=with_export, progress=told)


def _paths(given: str | Path | Iterable[str | Path]) -> list[Path]:
    return [Path(path) for path in ([given] if isinstance(given, str | Path) else given)]
