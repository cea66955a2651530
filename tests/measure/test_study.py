"""Training time against model size."""

import pytest

from weightzip.measure import study
from weightzip.progress import Meter, ProgressEvent
from weightzip.results import TrainingTime
from weightzip.vae import VAESettings


def test_training_time_grows_with_the_model(monkeypatch):
    monkeypatch.setattr(study, "PAPER_MODELS", ("mnist-fnn", "mnist-rnn"))
    vae = VAESettings(latent=8, copies=4, validation_copies=1)
    events: list[ProgressEvent] = []
    small, large = study.training_times(vae, "cpu", Meter(events.append, study.timing_seconds(vae)))
    assert (small.model, small.num_weights) == ("mnist-rnn", 54_538)
    assert (large.model, large.num_weights) == ("mnist-fnn", 185_300)
    assert 0 < small.seconds_per_epoch < large.seconds_per_epoch
    assert events[-1].done == events[-1].total


def test_a_line_is_fitted_exactly():
    times = [TrainingTime(f"model {weights}", weights, 0.5 + 2e-6 * weights) for weights in (1000, 50_000, 200_000)]
    fit = study.linear_fit(times)
    assert fit is not None
    assert (fit.intercept, fit.slope, fit.r_squared) == pytest.approx((0.5, 2e-6, 1.0))
    assert study.linear_fit(times[:2]) is None
