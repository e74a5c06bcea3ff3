import pytest

from cavga.config.presets import PRESETS, make_config
from cavga.config.schema import ModelConfig
from cavga.config.variant import VARIANTS, TrainingPlan


def test_a_name_is_its_backbone_and_its_supervision():
    assert list(VARIANTS) == ["r-s", "d-s", "r-u", "d-u", "r-w", "d-w"]
    assert all(variant.name == name for name, variant in VARIANTS.items())
    assert (ModelConfig(variant="d-w").backbone, ModelConfig(variant="d-w").supervision) == ("d", "w")


@pytest.mark.parametrize(
    ("preset", "model", "plan"),
    [
        ("recommended", {}, TrainingPlan.WHITENED_FIRST),
        ("recommended", {"variant": "r-w"}, TrainingPlan.WHITENED_FIRST),
        ("recommended", {"weights": "none"}, TrainingPlan.END_TO_END),
        ("recommended", {"variant": "d-u"}, TrainingPlan.WHITENED_AFTER),
        ("recommended", {"train_encoder": True}, TrainingPlan.WHITENED_AFTER),
        ("paper", {}, TrainingPlan.TRAINED),
        ("paper", {"variant": "r-w"}, TrainingPlan.TRAINED),
    ],
)
def test_the_plan_follows_from_the_settings(preset, model, plan):
    assert make_config(preset, {"model": model}).model.plan is plan
    assert plan.is_whitened == (plan in (TrainingPlan.WHITENED_FIRST, TrainingPlan.WHITENED_AFTER))


def test_settings_that_are_not_resolved_have_no_plan():
    with pytest.raises(ValueError, match="not resolved"):
        _ = PRESETS["recommended"].model.plan
