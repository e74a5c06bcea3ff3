"""`cavga refit`: a model learns what was marked: heads only, from cached features, as a new version."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from cavga._version import __version__
from cavga.calibration.rules import GIVEN, RULES
from cavga.calibration.stored import calibration_in_force, load_thresholds
from cavga.calibration.thresholds import Calibration
from cavga.config.presets import from_dict
from cavga.config.schema import CalibrationConfig, RunConfig
from cavga.errors import CavgaError, ModelFileError, UsageError
from cavga.exporting.export import export_refitted
from cavga.images.tiling import Tiling, tiling_of
from cavga.inference.graph import InferenceGraph
from cavga.inference.torch_engine import TorchEngine, choose_device, is_needed, make_graph
from cavga.marking.heads import NewHeads, fit_heads, scores_by, with_good_marks
from cavga.marking.latents import MarkedLatents, latents_of_marks
from cavga.marking.versions import (
    changing,
    keep_in_use,
    new_run,
    new_version,
    next_number,
    switch,
    writing_new_run,
)
from cavga.model.arithmetic import exact_float32
from cavga.model.prior import Energies
from cavga.progress import SILENT, Progress
from cavga.runs.checkpoint import load_model, save_model
from cavga.runs.marks_file import BAD, Mark, marks_in_force, read_marks, write_marks
from cavga.runs.model_json import MARKS_KEY, require_features
from cavga.training.features import Features, load_features
from cavga.training.fit_marks import MAX_MADE_LOSS

MAX_MARK_LOSS = 0.2  # of the bad marks that were found before, as a share of all of them
MAX_DOUBTS = 5  # bad marks that are named because they look good


@dataclass(frozen=True)
class MarkScore:
    """A marked photograph before and after: scores, and whether they reach the threshold then.

    After it is scored by heads that lack it; before by the version in use, which may have learnt from it.
    """

    path: str
    label: str
    type: str
    before: float
    after: float
    is_found_before: bool
    is_found_after: bool


@dataclass(frozen=True)
class Refitted:
    """What a refit did; `number` is None where it was refused, and nothing was written."""

    run: Path
    number: str | None
    old: Calibration
    new: Calibration
    readout: str | None
    """What of the bad marks adds to the score; None where nothing earned a weight."""
    weight: float
    marks: tuple[MarkScore, ...]
    made_found: tuple[float, float]
    """The share of made anomalies that reached the threshold before and after."""
    realised: float
    """The share of normal images, good marks among them, that reach the new threshold by heads that lack them."""
    warnings: tuple[str, ...]
    is_forced: bool

    @property
    def lines(self) -> list[str]:
        """What changed, in five lines."""
        bad, good = (self._found(is_bad=is_bad) for is_bad in (True, False))
        rate = self.new.false_alarm_rate
        weighted = "nothing told them apart well enough, so the score stays the energy's"
        if self.readout is not None:
            weighted = f"{self.readout.replace('_', ' ')} at weight {self.weight:.2f} beside the energy"
        return [
            f"image threshold {self.old.image_threshold:.4g} -> {self.new.image_threshold:.4g}",
            f"false alarms: {rate:.1%} asked for, {self.realised:.1%} of {self.new.num_images} good ones by heads that "
            "lack them",
            f"bad marks called anomalous: {bad}; {weighted}",
            f"good marks called anomalous: {good}",
            f"anomalies made on training images called anomalous: {self.made_found[0]:.0%} -> {self.made_found[1]:.0%}",
        ]

    def _found(self, *, is_bad: bool) -> str:
        marks = [mark for mark in self.marks if (mark.label == BAD) is is_bad]
        if not marks:
            return "none is marked"
        before, after = (sum(getattr(mark, f"is_found_{when}") for mark in marks) for when in ("before", "after"))
        return f"{before} -> {after} of {len(marks)}, each by heads that lack it"

    def as_dict(self) -> dict[str, Any]:
        """All of it as plain values."""
        values = asdict(self) | {"old": self.old.as_dict(), "new": self.new.as_dict(), "run": str(self.run)}
        return values | {"marks": [asdict(mark) for mark in self.marks], "lines": self.lines}

    def __repr__(self) -> str:
        return f"Refitted(version {self.number}; {'; '.join(self.lines)})"


@dataclass(frozen=True)
class _Run:
    """What of a run a refit needs."""

    folder: Path
    config: RunConfig
    description: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    graph: InferenceGraph
    calibration: Calibration
    tiling: Tiling

    @classmethod
    def load(cls, folder: Path) -> "_Run":
        tensors, description = load_model(folder)
        require_features(folder, description)
        config = from_dict(description["config"])
        graph = make_graph(config, tensors)
        calibration = calibration_in_force(folder, description)
        graph.image_threshold.fill_(calibration.image_threshold)
        return cls(folder, config, description, tensors, graph, calibration, tiling_of(description, graph.image_size))

    @property
    def settings(self) -> CalibrationConfig:
        """The rates in force; thresholds that were given by hand end with a refit."""
        rule = self.calibration.threshold_rule
        return replace(
            self.config.calibration,
            threshold_rule=self.config.calibration.threshold_rule if rule == GIVEN else rule,
            false_alarm_rate=self.calibration.false_alarm_rate,
            mask_false_alarm_rate=self.calibration.mask_false_alarm_rate,
        )


@dataclass(frozen=True)
class _Fit:
    """What a refit found, not written yet."""

    known: _Run
    marks: Sequence[Mark]
    heads: NewHeads
    done: Refitted


def refit(
    run: str | Path,
    output: str | Path | None = None,
    *,
    force: bool = False,
    device: str = "auto",
    progress: Progress = SILENT,
) -> Refitted:
    """Fit a run's heads to its marks, store that as a new version, and use it; the run's first version is kept too.

    With `output`, a folder that is not there yet, the run stays as it is, and `output` is a run that has both.

    Raises UsageError without marks, for an `output` that is there, and where recall falls too far unless `force`: of
    the anomalies made on training images by more than MAX_MADE_LOSS, or of the bad marks by more than MAX_MARK_LOSS.
    Raises ModelFileError for a run without cached features, DataError for a marked photograph that is gone and was
    never read.
    """
    where = Path(run)
    if output is None:
        with changing(where):
            return _written(where, _fit(where, force=force, device=device, progress=progress), progress)
    target = Path(output)
    with writing_new_run(target), changing(where):
        found = _fit(where, force=force, device=device, progress=progress)
        with new_run(where, target) as folder:
            return _written(folder, replace(found, done=replace(found.done, run=target)), progress)


def _fit(where: Path, *, force: bool, device: str, progress: Progress) -> _Fit:
    """New heads of a run, which is left as it is but for what is read of its marks."""
    known = _Run.load(where)
    if not RULES[known.settings.threshold_rule].follows_scores:
        raise UsageError(f"{where} has the paper's fixed thresholds, which do not follow scores: it is not refitted")
    marks = list(marks_in_force(read_marks(where)).values())
    if not marks:
        raise UsageError(f"{where} has no marks: `cavga mark {where} IMAGES --bad` (or --good) makes some")
    features, is_first_prior = load_features(where, known.tensors)
    with exact_float32():
        engine = TorchEngine(known.graph, choose_device(device))
        latents = latents_of_marks(where, marks, known.graph.model, engine, known.tiling, progress)
        known.graph.cpu()
        measured = features.energies if is_first_prior and all(mark.label == BAD for mark in marks) else None
        done, heads = _fitted(known, features, measured, marks, latents, progress)
    reason = _too_much_lost(done)
    if reason is not None and not force:
        raise UsageError(f"{where} is not refitted: {reason}; look at the marks, or force it (--force)")
    return _Fit(known, marks, heads, replace(done, is_forced=reason is not None))


def _fitted(
    known: _Run,
    features: Features,
    measured: Energies | None,
    marks: Sequence[Mark],
    latents: MarkedLatents,
    progress: Progress,
) -> tuple[Refitted, NewHeads]:
    """New heads, and what they change."""
    is_bad = np.array([mark.label == BAD for mark in marks])
    bad, good = (latents.of(np.flatnonzero(chosen).tolist()) for chosen in (is_bad, ~is_bad))
    normal = with_good_marks(features, good)
    seed = known.config.training.seed
    heads = fit_heads(
        known.graph, normal, bad.z, known.settings, known.tiling, known=measured, seed=seed, progress=progress
    )
    before, after = scores_by(known.graph, latents.z), np.empty(len(marks), dtype=np.float32)
    after[is_bad], after[~is_bad] = heads.fit.mark_scores.numpy(), heads.normal_scores[len(features) :]
    thresholds = (known.calibration.image_threshold, heads.calibration.image_threshold)
    scored = tuple(
        MarkScore(
            mark.path, mark.label, mark.type, float(a), float(b), bool(a >= thresholds[0]), bool(b >= thresholds[1])
        )
        for mark, a, b in zip(marks, before, after, strict=True)
    )
    made = [
        float((scores_by(graph, features.made) >= threshold).mean()) if len(features.made) else 0.0
        for graph, threshold in zip((known.graph, heads.graph), thresholds, strict=True)
    ]
    head = heads.fit.head
    done = Refitted(
        run=known.folder, number=None, old=known.calibration, new=heads.calibration,
        readout=None if head is None else head.readout, weight=heads.fit.weight, marks=scored,
        made_found=(made[0], made[1]), realised=float((heads.normal_scores >= thresholds[1]).mean()),
        warnings=(*_doubts(scored, heads.normal_scores), *_forgotten(known)), is_forced=False,
    )  # fmt: skip
    return done, heads


def _doubts(marks: Sequence[MarkScore], normal: NDArray[np.float32]) -> list[str]:
    """Bad marks that look like good photographs, by heads that lack them."""
    middle = float(np.median(normal))
    found = [mark.path for mark in marks if mark.label == BAD and mark.after < middle]
    named = [f"{path} is marked bad and scores below most good ones: look whether it is" for path in found[:MAX_DOUBTS]]
    return [*named, f"so do {len(found) - MAX_DOUBTS} more bad marks"] if len(found) > MAX_DOUBTS else named


def _forgotten(known: _Run) -> list[str]:
    """Thresholds in force that other photographs set than those which a refit knows."""
    trained = known.description["calibration"]
    held_out = (
        []
        if trained["num_folds"] > 1
        else [
            f"{trained['num_images']} photographs that training held out set the thresholds before, now those that it "
            "learnt from and good marks do"
        ]
    )
    if known.calibration.threshold_rule == GIVEN:
        return [
            f"the threshold {known.calibration.image_threshold:.4g} that was given by hand ends with a refit: give it "
            "again, or a false-alarm rate, with `cavga calibrate`"
        ]
    try:
        again = load_thresholds(known.folder, known.description["weights_sha256"])
    except ModelFileError:  # not in force either
        return held_out
    count = 0 if again is None else again.photographs["count"]
    if not count:
        return held_out
    return [
        f"{count} photographs of `cavga calibrate` set the thresholds before, now the training's and good marks do: "
        "calibrate again if the line still looks as it did then"
    ]


def _too_much_lost(done: Refitted) -> str | None:
    """Why a refit is refused, None if it is not."""
    before, after = done.made_found
    if before - after > MAX_MADE_LOSS:
        return f"of the anomalies made on training images {after:.0%} would be found instead of {before:.0%}"
    bad = [mark for mark in done.marks if mark.label == BAD]
    lost = sum(mark.is_found_before for mark in bad) - sum(mark.is_found_after for mark in bad)
    if lost > MAX_MARK_LOSS * len(bad):
        return f"{lost} fewer of the {len(bad)} bad marks would be found"
    return None


def _written(run: Path, found: _Fit, progress: Progress) -> Refitted:
    """Store the version in a run folder, with its exported graph, and use it."""
    known, marks, heads = found.known, found.marks, found.heads
    now = datetime.now(UTC).isoformat(timespec="seconds")
    marked = known.description.get(MARKS_KEY)
    origin = "as trained" if marked is None else f"version {marked['version']} of {known.folder}"
    keep_in_use(run, {"when": now, "summary": origin, "cavga": __version__})
    number = next_number(run)
    done = replace(found.done, number=number)
    num_bad = sum(mark.label == BAD for mark in marks)
    summary = f"{num_bad} bad and {len(marks) - num_bad} good marks{', forced' if done.is_forced else ''}"
    about = {"when": now, "summary": summary, "cavga": __version__, **done.as_dict()}
    description = {
        **{key: value for key, value in known.description.items() if key not in ("training_decisions",)},
        "calibration": heads.calibration.as_dict(),
        MARKS_KEY: {
            "sha256s": [mark.sha256 for mark in marks], "bad": num_bad, "good": len(marks) - num_bad,
            "readout": done.readout, "weight": done.weight, "version": number, "forced": done.is_forced,
        },
    }  # fmt: skip
    tensors = {key: value for key, value in heads.graph.state_dict().items() if is_needed(key, known.config)}
    with new_version(run, number, about) as folder:
        save_model(folder, tensors, description)
        write_marks(folder, read_marks(run))
        photographs = [Path(mark.path) for mark in marks]
        try:
            export_refitted(folder, known.folder, photographs, progress=progress)
        except CavgaError as error:
            done = replace(done, warnings=(*done.warnings, f"model.onnx is not written: {error}"))
    switch(run, number)
    return done
