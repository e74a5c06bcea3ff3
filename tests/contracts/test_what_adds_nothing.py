"""With given features and a mu that is set by whitening no score reads what Eq. 4 trains: said, and held to."""

import pytest

import cavga
from cavga.config.presets import make_config
from cavga.inference.detector import AnomalyDetector
from cavga.inference.torch_engine import load_run
from cavga.model.cavga import Cavga
from cavga.model.prior import AggregatedPrior

LOSSES = {
    "all of Eq. 4": {},
    "without L_ae": {"attention_weight": 0.0},
    "without L_adv": {"adversarial_weight": 0.0},
    "without L": {"vae_weight": 0.0},
}


def scores_of(category, run, *, variant, loss):
    overrides = {
        "data": {"image_size": (32, 32)},
        "model": {"variant": variant, "weights": "none", "train_encoder": False, "prior": "aggregated",
                  "latent_channels": 8, "decoder_width": 8},
        "loss": loss,
        "training": {"device": "cpu", "batch_size": 5},
    }  # fmt: skip
    cavga.train(category, run, make_config("recommended", overrides))
    return predictions_of(cavga.AnomalyDetector.load(run), category)


def predictions_of(detector, category):
    predictions = detector.predict(category / "test")
    return [(p.score, p.is_anomalous, p.anomaly_map.tobytes(), p.mask.tobytes()) for p in predictions]


@pytest.mark.parametrize("variant", ["r-u", "r-w"])
def test_no_term_of_eq_4_changes_a_bit_of_a_prediction(variant, category, tmp_path):
    found = {name: scores_of(category, tmp_path / name, variant=variant, loss=loss) for name, loss in LOSSES.items()}
    assert len(found["all of Eq. 4"]) == 8
    for name in LOSSES:
        assert found[name] == found["all of Eq. 4"], name


def test_without_attention_decoder_and_log_variance_every_bit_of_a_prediction_stays(category, tmp_path, monkeypatch):
    scores_of(category, tmp_path / "run", variant="r-u", loss={})
    engine, description = load_run(tmp_path / "run", "cpu")
    detector = AnomalyDetector(engine, description)
    whole = predictions_of(detector, category)
    model = engine.graph.model
    assert isinstance(model.prior, AggregatedPrior)
    model.decoder = model.logvar_head = None
    for owner, name in ((Cavga, "attention"), (Cavga, "class_attention"), (AggregatedPrior, "attention")):
        assert callable(getattr(owner, name))
        monkeypatch.setattr(owner, name, None)
    assert predictions_of(detector, category) == whole
