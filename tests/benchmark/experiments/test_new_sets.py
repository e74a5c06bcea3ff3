from cavga.benchmark.experiments.experiment import PED2, PIPED
from cavga.benchmark.experiments.new_sets import LITE_ENCODERS, PAPERS
from cavga.benchmark.experiments.selection import Selection, select_experiments

OURS = "r-s, recommended"
BASELINES = {"padim", "patchcore", "patchcore_25", "patchcore_factors"}


def test_every_set_has_the_default_and_all_baselines_on_its_features():
    experiments = select_experiments("new-sets", Selection(weights="w.safetensors"))
    assert len({experiment.folder for experiment in experiments}) == len(experiments) == (12 + 1) * (1 + 4 + 3)
    assert all(experiment.config().data.image_size == (256, 256) for experiment in experiments)
    for place in [*((PIPED, paper) for paper in PAPERS), (PED2, None)]:
        of_place = [experiment for experiment in experiments if (experiment.data, experiment.part) == place]
        ours = next(experiment for experiment in of_place if experiment.name == OURS)
        assert ours.config().model.weights == "w.safetensors"
        assert {one.method for one in of_place if one.features_of == OURS} == BASELINES
        encoders = {one.name.removeprefix("r-s, "): one.config().model for one in of_place if one.method == "cavga"}
        assert {name: model.encoder for name, model in encoders.items() if name in LITE_ENCODERS} == {
            name: name for name in LITE_ENCODERS
        }
        assert all(model.weights == "imagenet" for name, model in encoders.items() if name in LITE_ENCODERS)


def test_later_seeds_are_of_the_default_and_the_baselines_on_papers():
    experiments = select_experiments("new-sets", Selection(seeds=(0, 1)))
    later = [experiment for experiment in experiments if experiment.seed == 1]
    assert {experiment.data for experiment in later} == {PIPED}
    assert {experiment.name for experiment in later if experiment.method == "cavga"} == {OURS}
    assert len(later) == 12 * 5


def test_one_paper_can_be_chosen_with_what_its_baselines_stand_on():
    chosen = select_experiments("new-sets", Selection(categories=("BTN01",), variants=("padim",)))
    assert [(experiment.method, experiment.part) for experiment in chosen] == [("cavga", "BTN01"), ("padim", "BTN01")]
