import pytest
import torch

from weightzip.checkpoint import from_object
from weightzip.codec import Target, keep_structured

DEFAULT = 2.25  # bits per weight


def found(most_bits=DEFAULT, **tensors):
    generator = torch.Generator().manual_seed(0)
    checkpoint = from_object({"w": torch.randn(50, 50, generator=generator), **tensors})
    return checkpoint.weights - keep_structured(checkpoint, most_bits).weights


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    "tensor",
    [
        torch.tensor(0.9999),
        torch.ones(1),
        torch.ones(64),
        torch.zeros(300, 40),
        torch.full((30, 30), float.fromhex("0x1.8p-4")),
        torch.tril(torch.ones(200, 200)),
        torch.tril(torch.ones(128, 128)).mT,
        torch.randint(0, 2, (100, 100), generator=torch.Generator().manual_seed(1)).float(),
    ],
    ids=["scalar", "one value", "ones", "zeros", "constant", "mask", "strided mask", "bits"],
)
def test_what_is_as_small_when_it_is_exact(tensor, dtype):
    assert found(t=tensor.to(dtype)) == {"t"}


@pytest.mark.parametrize(
    "tensor",
    [
        torch.zeros(0),
        torch.zeros(2, 0),
        torch.tensor([0.5, 0.25]),
        torch.randn(1000, generator=torch.Generator().manual_seed(1)),
        torch.randn(200, 200, generator=torch.Generator().manual_seed(1)).bfloat16(),
        torch.randint(-8, 8, (200, 200), generator=torch.Generator().manual_seed(1)) / 8,
        torch.ones(40, dtype=torch.int64),
        torch.ones(40, dtype=torch.complex128),
    ],
    ids=["empty", "no column", "two", "vector", "matrix", "four bits", "integers", "complex"],
)
def test_what_is_not(tensor):
    assert found(t=tensor) == set()


def test_what_is_no_weight_is_not_asked_for():
    checkpoint = from_object({"model": {"w": torch.randn(20, 20)}, "best": torch.tensor(0.5)})
    assert keep_structured(checkpoint, DEFAULT).weights == {"w"}


@pytest.mark.parametrize(
    ("target", "bits"),
    [
        (Target(), DEFAULT),
        (Target(max_error=0.1), DEFAULT),
        (Target(max_drop=1), 0.5),
        (Target(bpw=1.5), 1.5),
        (Target(ratio=20), 1.2),
    ],
)
def test_the_smaller_the_file_is_to_be_the_less_is_exact(target, bits):
    checkpoint = from_object({"w": torch.randn(10, 20), "half": torch.randn(10, 20).half()})
    assert target.exact_bits(checkpoint) == pytest.approx(bits)


def test_constants_cost_next_to_nothing_at_any_size():
    assert found(0.01, t=torch.ones(1000, 1000), s=torch.randint(0, 2, (100, 100)).float()) == {"t"}
