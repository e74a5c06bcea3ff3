"""When a model's thresholds are better set again, and by how many photographs. No torch."""

from pathlib import Path

from cavga.calibration.rules import GIVEN, is_too_few, num_needed
from cavga.calibration.thresholds import Calibration

# Folds' models have seen a fifth less than the model itself, so their scores of good photographs are higher, and the
# threshold with them. With 120 photographs of magnetic tile that cost half of the recall.
FEW_FOR_FOLDS = 300


def calibration_advice(calibration: Calibration, model: Path) -> str | None:
    """One line on what `cavga calibrate` with more good photographs would gain; None where it is little."""
    if calibration.threshold_rule == GIVEN:
        return None
    how = f"more good photographs through `cavga calibrate {model} FOLDER`"
    pairs = (
        ("false alarm rate", calibration.guaranteed_false_alarm_rate, calibration.false_alarm_rate),
        ("mask false alarm rate", calibration.guaranteed_mask_false_alarm_rate, calibration.mask_false_alarm_rate),
    )
    missed = [(name, wanted) for name, rate, wanted in pairs if rate is not None and is_too_few(rate, wanted)]
    if missed:
        count = max(num_needed(wanted) for _, wanted in missed)
        rates = " and a ".join(f"{name} of {wanted:g}" for name, wanted in missed)
        return f"{count} {how} would guarantee a {rates}, which cannot be guaranteed now"
    if calibration.num_folds > 1 and (calibration.num_units or calibration.num_images) < FEW_FOR_FOLDS:
        return (
            f"{num_needed(calibration.false_alarm_rate)} or {how} guarantee the same and let fewer defects pass: "
            f"folds of {calibration.num_images} photographs set the threshold rather high"
        )
    return None
