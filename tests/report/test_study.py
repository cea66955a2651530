"""Training time against model size, on two of the zoo's models."""

from weightzip.progress import ProgressEvent
from weightzip.report import study
from weightzip.report.meter import Meter
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
