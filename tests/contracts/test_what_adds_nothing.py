"""With given features and a mu that is set by whitening no score reads what Eq. 4 trains: said, and held to."""

import pytest

import cavga
from cavga.config.presets import make_config

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
    predictions = cavga.AnomalyDetector.load(run).predict(category / "test")
    return [(p.score, p.is_anomalous, p.anomaly_map.tobytes(), p.mask.tobytes()) for p in predictions]


@pytest.mark.parametrize("variant", ["r-u", "r-w"])
def test_no_term_of_eq_4_changes_a_bit_of_a_prediction(variant, category, tmp_path):
    found = {name: scores_of(category, tmp_path / name, variant=variant, loss=loss) for name, loss in LOSSES.items()}
    assert len(found["all of Eq. 4"]) == 8
    for name in LOSSES:
        assert found[name] == found["all of Eq. 4"], name
