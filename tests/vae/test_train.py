import dataclasses
import math
import sys

import pytest
import torch

from weightzip.errors import UsageError
from weightzip.vae import Blocks, VAESettings, train

CPU = torch.device("cpu")


def whole(blocks):
    """The batch of all blocks."""
    return blocks.batch(blocks.lanes(1))


def test_it_lowers_the_loss_and_learns_the_blocks(blocks, settings):
    model, history = train(blocks, settings, device=CPU)
    assert [losses.epoch for losses in history] == list(range(1, 13))
    assert history[-1].training < 0.6 * history[0].training
    with torch.no_grad():
        decoded = model.predict(whole(blocks)).mean
    assert float((decoded - blocks.values).square().mean()) < 0.15  # of a variance of 1


def test_the_same_seed_gives_the_same_network(blocks, settings):
    (first, history), (second, again) = (train(blocks, settings, device=CPU) for _ in range(2))
    assert history == again
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_another_seed_gives_another_network(blocks, settings):
    short = dataclasses.replace(settings, epochs=1)
    (_, history), (_, other) = (train(blocks, dataclasses.replace(short, seed=seed), device=CPU) for seed in (0, 1))
    assert history != other


def test_the_global_generator_is_neither_used_nor_moved(blocks, settings):
    short = dataclasses.replace(settings, epochs=1)
    torch.manual_seed(1)
    _, first = train(blocks, short, device=CPU)
    after = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(1), after)
    _, second = train(blocks, short, device=CPU)
    assert first == second


def stage_validation(monkeypatch, losses, seen):
    """Make training see these validation losses, and note the decoder's weights at each of them."""
    remaining = iter(losses)

    def validate(model, blocks, settings):
        seen.append(model.decoder[0].weight.detach().clone())
        return next(remaining)

    monkeypatch.setattr(sys.modules["weightzip.vae.train"], "_validate", validate)


def test_it_stops_when_validation_no_longer_improves(monkeypatch, blocks, settings):
    stage_validation(monkeypatch, [5.0, 4.0, 4.5, 4.0, 4.1, 3.0], [])
    _, history = train(blocks, dataclasses.replace(settings, patience=3, epochs=6), device=CPU)
    assert [losses.validation for losses in history] == [5.0, 4.0, 4.5, 4.0, 4.1]


def test_the_best_weights_are_returned_not_the_last(monkeypatch, blocks, settings):
    seen = []
    stage_validation(monkeypatch, [5.0, 3.0, 4.0, 4.0], seen)
    model, _ = train(blocks, dataclasses.replace(settings, epochs=4), device=CPU)
    assert torch.equal(model.decoder[0].weight, seen[1])
    assert not torch.equal(seen[1], seen[3])


def test_validation_copies_are_the_same_in_every_epoch_and_training_copies_are_not(blocks, settings):
    """A network that does not move has one validation loss, and as many training losses as epochs."""
    _, history = train(blocks, dataclasses.replace(settings, learning_rate=1e-12, epochs=3), device=CPU)
    assert [losses.validation for losses in history] == pytest.approx([history[0].validation] * 3, rel=1e-6)
    assert history[1].training != pytest.approx(history[0].training, rel=1e-5)


def test_losses_are_nats_per_chunk_whatever_the_batch_size(blocks, settings):
    still = dataclasses.replace(settings, learning_rate=1e-12, epochs=1, copies=200, validation_copies=200)
    histories = [train(blocks, dataclasses.replace(still, batch_size=size), device=CPU)[1] for size in (64, 1000)]
    losses = [value for (epoch,) in histories for value in (epoch.training, epoch.validation)]
    assert losses == pytest.approx([losses[0]] * 4, rel=0.02)


def test_losses_are_nats_per_block_that_is_there_however_lanes_are_filled_up():
    """161 blocks make five full lanes and one of a single block, in batches of one lane or of all."""
    blocks = Blocks.alike(torch.randn(161, 6) * torch.linspace(0.1, 3, 161)[:, None])
    still = VAESettings.of("causal", chunk=6, learning_rate=1e-12, epochs=1, copies=1, validation_copies=1, noise=0.0)
    histories = [train(blocks, dataclasses.replace(still, batch_size=size), device=CPU)[1] for size in (1, 6)]
    losses = [value for (epoch,) in histories for value in (epoch.training, epoch.validation)]
    assert losses == pytest.approx([losses[0]] * 4, rel=1e-5)


def test_a_heavier_kl_leaves_less_in_the_latents(blocks, settings):
    rates = []
    for beta in (0.1, 1.0, 100.0):
        model, _ = train(blocks, dataclasses.replace(settings, beta=beta), device=CPU)
        with torch.no_grad():
            rates.append(float(model.posterior(whole(blocks)).kl().mean()))
    assert rates[0] > 1.5 * rates[1]
    assert rates[2] < 0.1  # collapsed


def test_progress_tells_each_epoch_and_its_losses(blocks, settings):
    events = []
    _, history = train(blocks, dataclasses.replace(settings, epochs=2), device=CPU, progress=events.append)
    assert [(event.done, event.total) for event in events] == [(1, 2), (2, 2)]
    assert f"validation {history[1].validation:.1f}" in events[1].detail


def test_the_blocks_are_left_as_they_are(blocks, settings):
    before = blocks.values.clone()
    train(blocks, dataclasses.replace(settings, epochs=1), device=CPU)
    assert torch.equal(blocks.values, before)


def test_one_block_is_enough(settings):
    one = Blocks.alike(torch.randn(1, 32))
    model, history = train(one, dataclasses.replace(settings, hidden=None, epochs=2), device=CPU)
    assert math.isfinite(history[-1].training)
    assert model.predict(whole(one)).mean.shape == (1, 32)


def test_the_network_comes_ready_for_use(blocks, settings):
    model, _ = train(blocks, dataclasses.replace(settings, epochs=1), device=CPU)
    assert not any(module.training for module in model.modules())


COUNTS = ("chunk", "latent", "hidden", "copies", "validation_copies", "epochs", "patience", "batch_size")


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("value", [0, -1])
def test_counts_below_one_are_refused(name, value):
    with pytest.raises(UsageError, match=f"{name} must be at least 1, not {value}"):
        VAESettings(**{name: value})


@pytest.mark.parametrize("name", ["noise", "noisy_fraction", "beta", "learning_rate"])
@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf])
def test_settings_without_meaning_are_refused(name, value):
    with pytest.raises(UsageError, match=name):
        VAESettings(**{name: value})


def test_the_defaults_are_the_papers():
    paper = VAESettings()
    assert (paper.chunk, paper.latent, paper.copies, paper.validation_copies, paper.epochs) == (2048, 64, 80, 20, 500)
