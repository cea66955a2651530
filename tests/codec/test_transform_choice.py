import numpy as np
import pytest
import torch

from weightzip.blocks.views import possible_views
from weightzip.codec.transform_choice import choose_transforms
from weightzip.codec.transforms import COSINE, IDENTITY, LEARNED, Choice, encode_transforms
from weightzip.threads import limited_threads


def mixed(shape, mixings, seed=0, size=6.0):
    """Noise whose vectors along each axis are mixed by a matrix, or left alone."""
    values = np.random.default_rng(seed).normal(size=shape)
    for axis, mixing in enumerate(mixings):
        if mixing is not None:
            values = np.moveaxis(np.tensordot(mixing, values, axes=(1, axis)), 0, axis)
    return (values / np.sqrt(np.square(values).mean()) * size).astype(np.float32)


def smooth(length):
    distance = np.abs(np.subtract.outer(np.arange(length), np.arange(length)))
    return np.linalg.cholesky(0.95**distance)


def scrambled(length, seed=1):
    rng = np.random.default_rng(seed)
    return np.linalg.qr(rng.normal(size=(length, length)))[0] * 2.0 ** -np.linspace(0, 8, length)


def along(tensor, **room):
    transforms = choose_transforms([tensor], [tensor.shape], **room)
    return transforms.choices[0].along


@pytest.mark.parametrize("shape", [(200, 300), (32, 32, 9), (1000,), (4, 4), (), (0, 5)])
def test_noise_gets_none_and_costs_nothing(shape):
    transforms = choose_transforms([np.asarray(mixed(shape, [])) if 0 not in shape else np.zeros(shape, np.float32)], [shape])
    assert transforms.choices == (Choice(),)
    assert encode_transforms(transforms) == b""


def test_smooth_axes_get_the_cosine_transform():
    assert along(mixed((7, 8, 49), [None, None, smooth(49)])) == (IDENTITY, IDENTITY, COSINE)
    assert along(mixed((3, 48, 49), [None, smooth(48), None]))[1] == COSINE


def test_what_is_mixed_otherwise_is_learned():
    assert along(mixed((90, 80, 16), [None, None, scrambled(16)])) == (IDENTITY, IDENTITY, LEARNED)
    assert along(mixed((16, 80, 90), [scrambled(16), None, None])) == (LEARNED, IDENTITY, IDENTITY)
    assert along(mixed((2000, 48), [None, scrambled(48)])) == (IDENTITY, IDENTITY, LEARNED)


def test_the_pixels_of_an_image_are_found():
    tensor = mixed((200, 28, 28), [None, smooth(28), smooth(28)]).reshape(200, 784)
    transforms = choose_transforms([tensor], [tensor.shape])
    view = possible_views(tensor.shape)[transforms.choices[0].view]
    assert view.kind == "runs"
    assert view.sizes[2] % 28 == 0
    assert IDENTITY not in transforms.choices[0].along[1:]


def test_a_basis_that_costs_more_than_it_saves_is_left_out():
    """The same mixing: with 16 vectors of 64 it does not pay, with many it does."""
    mixing = scrambled(64)
    few, many = mixed((16, 64), [None, mixing]), mixed((4000, 64), [None, mixing])
    assert LEARNED not in along(few)
    assert along(many)[2] == LEARNED


def test_values_too_large_to_be_exact_are_left_alone():
    tensor = mixed((5, 48, 49), [None, smooth(48), smooth(49)])
    assert along(tensor) != (IDENTITY,) * 3
    assert along(tensor * np.float32(1e9)) == (IDENTITY,) * 3
    assert along(tensor, headroom=2.0**14) != (IDENTITY,) * 3
    assert along(tensor, headroom=2.0**36) == (IDENTITY,) * 3


def test_no_more_cosines_are_chosen_than_a_file_may_have(monkeypatch):
    tensors = [mixed((7, 8, length), [None, None, smooth(length)]) for length in (49, 40, 49)]
    shapes = [tensor.shape for tensor in tensors]
    cosine, nothing = Choice(0, (IDENTITY, IDENTITY, COSINE)), Choice()
    assert choose_transforms(tensors, shapes).choices == (cosine, cosine, cosine)
    monkeypatch.setattr("weightzip.codec.transform_choice.MAX_COSINES", 49**2)
    assert choose_transforms(tensors, shapes).choices == (cosine, nothing, cosine)


def test_restored_latents_are_the_tensor():
    tensor = mixed((60, 70, 9), [None, scrambled(70), smooth(9)], size=60.0)
    transforms = choose_transforms([tensor], [tensor.shape])
    assert IDENTITY not in transforms.choices[0].along[1:]
    latents = transforms.latents(0, tensor)
    restored = transforms.restore(0, np.rint(latents).astype(np.int32), 1.0)
    assert np.square(restored - tensor).mean() < 0.5


def test_the_choice_does_not_depend_on_threads():
    tensors = [mixed((128, 96), [None, scrambled(96)]), mixed((30, 30, 25), [None, scrambled(30), smooth(25)])]
    before = torch.get_num_threads()
    coded = []
    for threads in (1, 2):
        with limited_threads(threads):
            coded.append(encode_transforms(choose_transforms(tensors, [tensor.shape for tensor in tensors])))
    assert coded[0] == coded[1]
    assert torch.get_num_threads() == before
