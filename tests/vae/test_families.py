"""What every family must do; one that is new is tested here once it is registered."""

import dataclasses
import math
import sys

import pytest
import torch

from weightzip.errors import UsageError
from weightzip.vae import FAMILIES, UNKNOWN, Blocks, Sizes, VAESettings, build_family, exact_decoder, find_family, train
from weightzip.vae.families.dense import DenseVAE

CPU = torch.device("cpu")
SIZES = Sizes(block=36, latent=16, hidden=32, tensors=2)


def generator():
    return torch.Generator().manual_seed(0)


def same(first, second):
    """Whether two networks have the same numbers."""
    return all(torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True))


def whole(blocks, model):
    """The batch of all blocks."""
    return blocks.batch(blocks.lanes(model.frames))


def predicted(model, blocks):
    """The means of all blocks, in order."""
    batch = whole(blocks, model)
    return model.predict(batch).mean[batch.present]


def psnr(values, truth):
    """In dB, the peak being the range of the truth."""
    return float(10 * torch.log10((truth.max() - truth.min()).square() / (values - truth).square().mean()))


def test_a_family_is_found_by_its_name(name):
    assert find_family(name).name == name
    assert find_family(name).__module__ == f"weightzip.vae.families.{name}"
    assert type(build_family(name, SIZES)) is find_family(name)


def test_an_unknown_family_is_refused_with_a_suggestion():
    with pytest.raises(UsageError, match=r"unknown family 'dens'; did you mean dense\? use one of dense, conv, "):
        find_family("dens")
    with pytest.raises(UsageError, match="unknown family 'nothing like it'; use one of dense, conv, "):
        VAESettings(family="nothing like it")


def test_settings_are_the_familys_but_for_those_that_are_given(name):
    defaults = find_family(name).defaults
    settings = VAESettings.of(name)
    assert settings == dataclasses.replace(VAESettings(), family=name, **defaults)
    assert VAESettings.of(name, latent=3, epochs=7) == dataclasses.replace(settings, latent=3, epochs=7)


def test_the_dense_family_has_the_papers_settings():
    assert VAESettings.of("dense") == VAESettings()
    assert find_family("dense") is DenseVAE


def test_a_seed_gives_the_same_network_whatever_the_global_generator(name):
    first = build_family(name, SIZES, seed=3)
    torch.manual_seed(99)
    assert same(first, build_family(name, SIZES, seed=3))
    assert not same(first, build_family(name, SIZES, seed=4))


def test_a_seed_trains_the_same_network_whatever_the_global_generator(name, small, structured):
    settings = small(name, epochs=2, copies=2, seed=3)
    first, history = train(structured, settings, device=CPU)
    torch.manual_seed(99)
    second, again = train(structured, settings, device=CPU)
    other, another = train(structured, dataclasses.replace(settings, seed=4), device=CPU)
    assert history == again
    assert same(first, second)
    assert history != another
    assert not same(first, other)


def test_the_global_generator_is_not_moved(name, small, structured):
    before = torch.get_rng_state()
    build_family(name, SIZES)
    assert torch.equal(torch.get_rng_state(), before)
    train(structured, small(name, epochs=1, copies=1), device=CPU)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_blocks_are_left_as_they_are(name, small, structured):
    before = structured.values.clone()
    train(structured, small(name, epochs=1, copies=1), device=CPU)
    assert torch.equal(structured.values, before)


@pytest.mark.parametrize("training", [True, False])
def test_losses_are_finite_and_one_for_each_block(name, structured, training):
    model = build_family(name, SIZES).train(training)
    batch = whole(structured, model)
    losses = model.losses(batch, generator())
    total = losses.total(batch.present, beta=1.0)
    torch.autograd.backward(total)
    assert losses.reconstruction.shape == losses.kl.shape == (len(batch.blocks),)
    assert torch.isfinite(losses.reconstruction).all()
    assert (losses.kl >= 0).all()
    assert math.isfinite(total.item())
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())


def test_the_gradient_reaches_every_parameter(name, structured):
    """In use, as in training a bias in front of a batch norm has no effect."""
    model = build_family(name, SIZES).eval()
    batch = whole(structured, model)
    torch.autograd.backward(model.losses(batch, generator()).total(batch.present, beta=1.0))
    without = [name for name, parameter in model.named_parameters() if parameter.grad is None or not parameter.grad.any()]
    assert without == []


def test_training_lowers_the_validation_loss(name, trained):
    _, history = trained(name)
    assert min(losses.validation for losses in history) < 0.75 * history[0].validation


def test_the_best_network_is_returned(monkeypatch, name, small, structured):
    """With all that its layers remember of the batches they have seen: it predicts what it did after the second epoch."""
    losses, seen = iter([5.0, 3.0, 4.0, 4.0]), []

    def validate(model, blocks, settings):
        seen.append(predicted(model.eval(), blocks))
        return next(losses)

    monkeypatch.setattr(sys.modules["weightzip.vae.train"], "_validate", validate)
    model, _ = train(structured, small(name, epochs=4, copies=1), device=CPU)
    assert torch.equal(predicted(model, structured), seen[1])
    assert not torch.allclose(seen[1], seen[3])


@pytest.mark.parametrize("num_lanes", [1, 2])
def test_shapes(name, structured, trained, num_lanes):
    model, _ = trained(name)
    batch = structured.batch(structured.lanes(model.frames)[:num_lanes])
    num_blocks = num_lanes * model.frames
    posterior, prediction = model.posterior(batch), model.predict(batch)
    assert posterior.mean.shape == posterior.log_variance.shape == (num_blocks, model.num_latents)
    assert prediction.mean.shape == (num_blocks, 36)
    assert prediction.log_variance.shape in ((), (num_blocks, 36))
    assert model.score(batch).shape == (num_blocks,)
    assert torch.isfinite(model.score(batch)).all()


def test_a_block_is_decoded_from_its_latents_its_tensor_and_what_is_before_it(name, structured, trained):
    """`decode` is what `predict` says, so that a file's reader sees the same blocks as its writer."""
    model, _ = trained(name)
    batch = whole(structured, model)
    latents, prediction = model.posterior(batch).mean, model.predict(batch).mean
    lanes = batch.blocks.view(-1, model.frames, 36)
    for frame in range(model.frames):
        which = slice(frame, None, model.frames)
        decoded = model.decode(latents[which], batch.tensor[which], lanes[:, :frame])
        torch.testing.assert_close(decoded.mean, prediction[which], rtol=1e-4, atol=1e-5)
        assert decoded.log_variance.shape in ((), (len(lanes), 36))


def test_a_score_does_not_depend_on_the_other_blocks_of_a_batch(name, structured, trained):
    model, _ = trained(name)
    lanes = structured.lanes(model.frames)
    together = model.score(structured.batch(lanes)).view(lanes.shape)
    for lane, scores in zip(lanes, together, strict=True):
        torch.testing.assert_close(model.score(structured.batch(lane[None])), scores, rtol=1e-4, atol=1e-4)


def test_a_score_does_not_depend_on_how_a_batch_is_ordered(name, structured, trained):
    model, _ = trained(name)
    lanes = structured.lanes(model.frames)
    scores = model.score(structured.batch(lanes)).view(lanes.shape)
    backwards = model.score(structured.batch(lanes.flip(0))).view(lanes.shape).flip(0)
    torch.testing.assert_close(backwards, scores, rtol=1e-4, atol=1e-4)


def test_strange_blocks_have_larger_scores(name, structured, trained):
    model, _ = trained(name)
    batch = whole(structured, model)
    noise = 3 * torch.randn(batch.blocks.shape, generator=generator())
    usual, odd = model.score(batch), model.score(batch.with_blocks(batch.blocks + noise))
    assert odd[batch.present].mean() > usual[batch.present].mean() + 2 * usual[batch.present].std()


@pytest.mark.parametrize("name", [name for name in FAMILIES if build_family(name, SIZES).num_latents])
def test_what_has_latents_takes_noise_away(name, structured, trained):
    """The others know nothing of a block itself."""
    model, _ = trained(name)
    noise = 0.7 * torch.randn(structured.values.shape, generator=generator())
    noisy = dataclasses.replace(structured, values=structured.values + noise)
    assert psnr(predicted(model, noisy), structured.values) > psnr(noisy.values, structured.values) + 2


@pytest.mark.parametrize("latent", [1, 3])
@pytest.mark.parametrize("block", [1, 2, 7, 64])
def test_awkward_sizes(name, block, latent):
    values = torch.randn(9, block, generator=generator())
    blocks = Blocks(values, torch.arange(9) // 4, torch.tensor([0, 1, UNKNOWN] * 3))
    settings = VAESettings.of(name, chunk=block, latent=latent, epochs=1, copies=1, validation_copies=1)
    model, history = train(blocks, settings, device=CPU)
    assert math.isfinite(history[0].training)
    assert math.isfinite(history[0].validation)
    assert torch.isfinite(model.score(whole(blocks, model))).all()
    decoded = exact_decoder(model).decode(
        torch.zeros(9, model.num_latents).double(), blocks.tensor, torch.zeros(9, 0, block).double()
    )
    assert decoded.mean.shape == (9, block)


def test_a_single_block(name, small):
    one = Blocks.alike(torch.randn(1, 36, generator=generator()))
    model, history = train(one, small(name, hidden=5, epochs=2), device=CPU)
    assert math.isfinite(history[-1].training)
    assert predicted(model, one).shape == (1, 36)


def test_batches_of_one(name, small, structured):
    few = Blocks(structured.values[:5], structured.tensor[:5], structured.kind[:5])
    model, history = train(few, small(name, batch_size=1, copies=2, epochs=2), device=CPU)
    assert history[1].validation < history[0].validation
    assert torch.isfinite(predicted(model, few)).all()
