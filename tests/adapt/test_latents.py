import numpy as np
import pytest
import torch

from weightzip.adapt.latents import Latents
from weightzip.checkpoint import from_object
from weightzip.codec import decode, encode
from weightzip.codec.steps import Magnitudes, Steps, choose_steps
from weightzip.codec.transform_choice import choose_transforms
from weightzip.codec.transforms import COSINE, IDENTITY, LEARNED


def smooth(*shape, axes=(-1,)):
    """Values that resemble their neighbours along some axes."""
    values = 0.1 * np.random.default_rng(0).normal(size=shape)
    for axis in axes:
        mixing = np.linalg.cholesky(0.99 ** np.abs(np.subtract.outer(np.arange(shape[axis]), np.arange(shape[axis]))))
        values = np.moveaxis(np.tensordot(mixing, values, axes=(1, axis)), 0, axis)
    return torch.from_numpy(np.ascontiguousarray(values)).float()


def noise(*shape, seed=0):
    return 0.1 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def tensors():
    return {
        "lines": smooth(60, 48),
        "columns": smooth(48, 30, axes=(0,)),
        "pixels": smooth(20, 14, 14, axes=(1, 2)).reshape(20, 196),
        "filters": noise(16, 8, 3, 3),
        "taps": smooth(6, 5, 64),
        "depthwise": noise(40, 1, 3, 3),
        "noise": noise(50, 40),
        "bias": noise(60),
        "positive": 1 + noise(70).abs(),
        "scalar": torch.tensor(0.7),
        "zeros": torch.zeros(5, 7),
        "empty": torch.zeros(0, 5),
    }


def of(given, step=0.5):
    """Latents, and the steps that they begin with."""
    steps = choose_steps({name: Magnitudes.of(tensor) for name, tensor in given.items()}, step, {})
    return Latents.of(given, steps, "cpu"), steps


@pytest.fixture(scope="module")
def usual():
    return of(tensors())


def symbols_of(latents, steps, given):
    return (latents.encode(given) / latents.symbol_steps(steps)[latents.index]).round()


def test_decoding_undoes_encoding(usual):
    """Within what integer bases round off."""
    given = tensors()
    latents, _ = usual
    decoded = latents.decode(latents.encode(given))
    assert list(decoded) == list(given)
    for name, tensor in given.items():
        assert decoded[name].shape == tensor.shape
        torch.testing.assert_close(decoded[name], tensor, rtol=0, atol=5e-6)


def test_smooth_axes_get_cosines_and_no_basis_is_ever_learned(usual):
    latents, _ = usual
    along = dict(zip(latents.names, (choice.along for choice in latents.transforms.choices), strict=True))
    assert along["lines"] == (IDENTITY, IDENTITY, COSINE)
    assert along["columns"][0] == COSINE
    assert along["pixels"][1:] == (COSINE, COSINE)
    assert along["taps"][2] == COSINE
    assert along["noise"] == along["filters"] == along["bias"] == (IDENTITY,) * 3
    assert {number for each in along.values() for number in each} == {IDENTITY, COSINE}
    assert latents.transforms.decoders == ()


def test_a_transform_that_would_have_to_be_stored_is_not_taken():
    """Directions that only a learned basis finds: the codec without adaptation learns one."""
    rng = np.random.default_rng(0)
    mixing = np.linalg.qr(rng.normal(size=(16, 16)))[0] * 2.0 ** -np.linspace(0, 8, 16)
    given = {"weight": torch.from_numpy(rng.normal(size=(4000, 16)) @ mixing.T).float()}
    latents, _ = of(given)
    assert latents.transforms.choices[0].along == (IDENTITY,) * 3
    values = [given["weight"].numpy() / np.float32(latents.steps.sizes()[0])]
    assert choose_transforms(values, [(4000, 16)]).choices[0].along[2] == LEARNED


def test_the_latents_of_each_tensor_lie_together_in_order(usual):
    given = tensors()
    latents, _ = usual
    assert latents.sizes == [tensor.numel() for tensor in given.values()]  # a cosine transform leaves nothing out
    assert latents.index.bincount(minlength=len(given)).tolist() == latents.sizes
    assert torch.equal(latents.index, latents.index.sort().values)
    flat = latents.encode(given)
    assert flat.dtype == torch.float32
    start = sum(latents.sizes[: latents.names.index("noise")])
    assert torch.equal(flat[start : start + 2000].view(50, 40), given["noise"])


def test_transforms_are_orthonormal_but_for_their_integers(usual):
    """So that an error of latents is one of weights."""
    given = tensors()
    latents, _ = usual
    flat = latents.encode(given)
    energies = [float(part.square().sum()) for part in torch.split(flat, latents.sizes)]
    assert energies == pytest.approx([float(tensor.square().sum()) for tensor in given.values()], rel=1e-2)


def test_some_tensors_can_be_put_in_place_of_others(usual):
    given = tensors()
    latents, _ = usual
    flat = latents.encode(given)
    before = flat.clone()
    other = smooth(60, 48, axes=())
    changed = latents.decode(latents.put(flat, {"lines": other, "unknown": other}))
    assert torch.equal(flat, before)
    torch.testing.assert_close(changed["lines"], other, rtol=0, atol=5e-6)
    assert all(torch.equal(changed[name], latents.decode(flat)[name]) for name in given if name != "lines")


def test_gradients_flow_to_every_latent(usual):
    """And are those of the transform: the gradient of a weight's square is twice what encoding makes of it."""
    given = tensors()
    latents, _ = usual
    flat = latents.encode(given).requires_grad_()
    sum(tensor.square().sum() for tensor in latents.decode(flat).values()).backward()
    assert flat.grad is not None
    torch.testing.assert_close(flat.grad, 2 * flat.detach(), rtol=1e-2, atol=1e-2)
    assert (flat.grad != 0).float().mean() > 0.99


def test_steps_of_symbols_are_two_fine_steps(usual):
    latents, steps = usual
    assert latents.symbol_steps(steps).tolist() == pytest.approx([2 * step for step in steps.sizes()], rel=1e-6)


def test_steps_that_a_file_can_hold_are_snapped_to_themselves(usual):
    latents, steps = usual
    assert latents.snapped(latents.symbol_steps(steps)) == steps


@pytest.mark.parametrize(("octaves", "codes"), [(0.1, 0), (0.13, 1), (-0.13, -1), (1.0, 4), (-2.6, -10)])
def test_steps_are_snapped_to_the_nearest_quarter_octave(usual, octaves, codes):
    latents, steps = usual
    snapped = latents.snapped(latents.symbol_steps(steps) * 2.0**octaves)
    assert snapped.base == steps.base
    assert snapped.codes == tuple(code + codes for code in steps.codes)


@pytest.mark.parametrize("step", [0.1, 0.5, 2.0])
def test_what_is_restored_is_what_the_file_gives_bit_for_bit(step):
    """From the packed bytes, as any other file of the default codec."""
    given = tensors()
    latents, steps = of(given, step)
    codec = latents.codec(symbols_of(latents, steps, given), steps)
    coded = encode(from_object(given), codec)
    restored = decode(coded.pack()).tensors
    expected = codec.restored()
    assert list(expected) == list(given)
    for name, tensor in expected.items():
        assert torch.equal(restored[name], tensor)
        assert torch.equal(coded.restored[name], tensor)
    errors = {name: float((expected[name] - tensor).square().mean()) for name, tensor in given.items() if tensor.numel()}
    sizes = dict(zip(latents.names, steps.sizes(), strict=True))
    assert all(error <= (2 * sizes[name]) ** 2 / 4 for name, error in errors.items())


def test_symbols_of_any_size_come_back():
    """Variances may be a hundred million times the smallest of them, which their step is fitted to."""
    given = {"weight": noise(20, 20), "variance": 10.0 ** torch.linspace(-6, 2, 33)}
    latents, steps = of(given)
    symbols = symbols_of(latents, steps, given)
    assert symbols.max() > 2**25
    codec = latents.codec(symbols, steps)
    assert torch.equal(decode(encode(from_object(given), codec).pack()).tensors["variance"], codec.restored()["variance"])
    torch.testing.assert_close(codec.restored()["variance"], given["variance"], rtol=0.1, atol=0)


def test_decoded_latents_are_what_the_file_gives_but_for_float32(usual):
    given = tensors()
    latents, steps = usual
    symbols = symbols_of(latents, steps, given)
    floats = latents.decode(symbols * latents.symbol_steps(steps)[latents.index])
    for name, tensor in latents.codec(symbols, steps).restored().items():
        torch.testing.assert_close(floats[name], tensor, rtol=0, atol=5e-6)


def test_other_steps_than_those_at_the_beginning_are_coded(usual):
    given = tensors()
    latents, steps = usual
    finer = Steps(steps.base, tuple(code - 8 for code in steps.codes))
    codec = latents.codec(symbols_of(latents, finer, given), finer)
    coded = encode(from_object(given), codec)
    for name, tensor in decode(coded.pack()).tensors.items():
        assert torch.equal(tensor, codec.restored()[name])
    plain = latents.codec(symbols_of(latents, steps, given), steps).restored()
    off, was = (float((found["noise"] - given["noise"]).square().mean()) for found in (codec.restored(), plain))
    assert off == pytest.approx(was / 16, rel=0.15)


def test_a_file_of_some_of_the_tensors_is_one_as_well(usual):
    given = tensors()
    latents, steps = usual
    codec = latents.codec(symbols_of(latents, steps, given), steps)
    some = {name: given[name] for name in ("columns", "taps", "bias")}
    restored = decode(encode(from_object(some), codec).pack()).tensors
    assert list(restored) == list(some)
    for name, tensor in restored.items():
        assert torch.equal(tensor, codec.restored()[name])
