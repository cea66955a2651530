"""The codec of the VAE families. Networks hardly trained will do: what they predict badly, the residuals make good."""

import ctypes
import dataclasses
import functools
import sys
from pathlib import Path

import pytest
import torch

import weightzip
from weightzip.checkpoint import from_object
from weightzip.codec import FamilyCodec, decode, encode, family_fit, family_header
from weightzip.codec.family_header import family_working_bytes
from weightzip.errors import UsageError
from weightzip.interface import Payload, TensorSpec
from weightzip.progress import silent
from weightzip.threads import limited_threads
from weightzip.vae import FAMILIES, Sizes, VAESettings, build_family

CHUNK, LATENT = 32, 4
NUM_CHUNKS, PADDING = 74, 23  # of 2,345 weights
CAUSAL_ERROR = 1.2  # largest, in fine steps: half of the distance of two points, and the dead zone
IMPRECISION = 2.0**-20  # of float32, in steps
CHEAP = ("dense", "heteroskedastic", "labelled")  # whose decoders are small


@pytest.fixture(autouse=True, scope="module")
def _decoders_are_stored_in_one_way():
    """Where nothing is said of them; it is what takes most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(family_fit, "_DECODER_STEPS", (0.5,))
        yield


@pytest.fixture(params=FAMILIES)
def name(request):
    return request.param


def settings(name, **given):
    fields = {"chunk": CHUNK, "latent": LATENT, "hidden": 8, "copies": 1, "validation_copies": 1, "epochs": 2, "batch_size": 16}
    return VAESettings.of(name, **(fields | given))


@functools.cache
def tensors():
    """A matrix that a few directions explain, and others. Only to be looked at."""
    generator = torch.Generator().manual_seed(0)
    rows, columns = torch.randn(40, 3, generator=generator), torch.randn(3, 50, generator=generator)
    return {
        "conv.weight": 0.05 * torch.randn(8, 4, 3, 3, generator=generator),
        "fc.weight": 0.03 * rows @ columns + 0.01,
        "fc.bias": 0.02 * torch.randn(57, generator=generator),
    }


@functools.cache
def fitted(name):
    return family_fit.fit(tensors(), settings(name), "cpu")


def specs_of(state):
    return [TensorSpec(key, tuple(tensor.shape), "float32") for key, tensor in state.items()]


def restored(payload):
    return FamilyCodec.decode(payload, specs_of(tensors()))


def same(first, second):
    return list(first) == list(second) and all(torch.equal(first[key], second[key]) for key in first)


def errors_in_steps(payload, state):
    """How far each weight of the matrices is off, in fine steps: theirs is the common one, or nearly so."""
    found = FamilyCodec.decode(payload, specs_of(state))
    assert {key: tensor.shape for key, tensor in found.items()} == {key: tensor.shape for key, tensor in state.items()}
    differences = [(found[key] - state[key]).double().reshape(-1) for key in state if state[key].dim() > 1]
    return torch.cat(differences) / payload.meta["step"]


def num_bytes(payload):
    return sum(map(len, payload.sections.values()))


def test_the_step_sets_the_error_and_the_size(name):
    payloads = [fitted(name).encode(step) for step in (0.05, 0.2, 0.8)]
    for payload in payloads:
        assert 0.4 < errors_in_steps(payload, tensors()).square().mean().sqrt() < 0.7
    sizes = [num_bytes(payload) for payload in payloads]
    assert sizes[0] > sizes[1] + 300 > sizes[2] + 600
    assert [payload.meta["step"] / payloads[0].meta["step"] for payload in payloads] == pytest.approx([1, 4, 16], rel=1e-3)


def test_any_number_of_threads_gives_the_same_bytes_and_bits(name):
    payload = fitted(name).encode(0.3)
    with limited_threads(2):
        again = FamilyCodec(settings(name), 0.3).encode(tensors())
        found = restored(again)
    assert (again.sections, again.meta) == (payload.sections, payload.meta)
    assert same(found, restored(payload))


@pytest.mark.parametrize("name", CHEAP)
def test_another_seed_gives_other_bytes(name):
    other = FamilyCodec(settings(name, seed=1), 0.3).encode(tensors())
    assert other.sections != fitted(name).encode(0.3).sections


def test_the_bits_do_not_depend_on_how_many_chunks_are_decoded_at_a_time(name, monkeypatch):
    payload = fitted(name).encode(0.3)
    at_once = restored(payload)
    monkeypatch.setattr(family_header, "_BATCH", 1)
    assert same(at_once, restored(payload))


def test_through_a_file(name, through_bytes, same_bits):
    """Whatever may be in a model: other dtypes, shapes of no and many sizes, and what is exact."""
    state = {
        "empty": torch.zeros(0, 3),
        "half": torch.randn(6, 20).half(),
        "steps": torch.arange(7),
        "brain": torch.randn(5, 3, 2, 2).bfloat16(),
        "scalar": torch.tensor(0.7),
        "double": torch.randn(30, dtype=torch.float64),
        "mask": torch.tensor([True, False]),
        "odd": torch.tensor([float("nan"), 1.0]),
        "none": torch.zeros(4, 0),
    }
    decoded = through_bytes(state, FamilyCodec(settings(name), 0.1))
    assert list(decoded.tensors) == list(state)
    for key, tensor in state.items():
        found = decoded.tensors[key]
        assert (found.shape, found.dtype) == (tensor.shape, tensor.dtype)
        if key in ("steps", "mask", "odd", "empty", "none"):
            assert same_bits(found, tensor)
        else:
            assert (found - tensor).abs().max() < 0.3


def test_fewer_weights_than_a_chunk(name, through_bytes):
    weights = torch.randn(3, 3)
    found = through_bytes({"w": weights}, FamilyCodec(settings(name), 0.1))
    assert found.header.meta["padding"] == CHUNK - 9
    assert (found.tensors["w"] - weights).abs().max() < 0.3


@pytest.mark.parametrize("name", ["heteroskedastic", "causal"])
@pytest.mark.parametrize(
    "weights",
    [
        torch.full((40, 10), 0.3),
        torch.zeros(100),
        torch.tensor(2.5),
        torch.linspace(-1, 1, 2 * CHUNK),
        torch.linspace(-1, 1, 100).view(50, 2) * 1e-40,
        torch.linspace(-1, 1, 100).view(50, 2) * 1e35,
        torch.cat([torch.linspace(-1, 1, 99), torch.tensor([1e6])]),
        torch.linspace(1000, 1001, 100),
    ],
    ids=["constant", "zero", "scalar", "no padding", "subnormal", "large", "outlier", "far from zero"],
)
def test_any_weights(name, through_bytes, weights):
    found = through_bytes({"w": weights}, FamilyCodec(settings(name), 0.1)).tensors["w"]
    assert found.shape == weights.shape
    deviation = float(weights.double().square().mean().sqrt()) or 1.0
    assert (found - weights).abs().max() < 0.2 * deviation


def test_the_header_and_the_latents(name):
    payload = fitted(name).encode(0.3)
    counts = {"causal": 0, "labelled": LATENT + 6}  # whose six are the kinds' probabilities
    assert payload.latents == counts.get(name, LATENT) * NUM_CHUNKS
    assert set(payload.sections) == {"decoder", "latents", "residuals", "steps"}
    assert (payload.sections["latents"] == b"") == (name == "causal")
    sizes = {"chunk": CHUNK, "latent": LATENT, "hidden": 8, "tensors": 3, "padding": PADDING}
    assert {field: payload.meta[field] for field in sizes} == sizes
    assert payload.meta["family"] == name
    assert [epoch["epoch"] for epoch in payload.notes["history"]] == [1, 2]


def test_of_many_tensors_the_last_count_as_one(monkeypatch):
    monkeypatch.setattr(family_fit, "_MOST_TENSORS", 3)
    state = {f"w{number}": torch.randn(8, 8) for number in range(6)}
    payload = FamilyCodec(settings("conditioned"), 0.3).encode(state)
    assert payload.meta["tensors"] == 3
    assert errors_in_steps(payload, state).abs().max() < 3


def two_noises():
    """A matrix of chunks whose deviations are 1 or 1/16 by chance, which no scales of rows and columns tell."""
    generator = torch.Generator().manual_seed(1)
    levels = torch.where(torch.rand(400, 1, generator=generator) < 0.5, 1.0, 1 / 16)
    return {"w": (levels * torch.randn(400, CHUNK, generator=generator)).view(100, 4 * CHUNK)}


def test_residuals_stand_by_class_where_the_network_knows_their_size():
    state = two_noises()
    learned = family_fit.fit(state, settings("heteroskedastic", copies=4, epochs=12, learning_rate=1e-2), "cpu")
    payload = learned.encode(0.05)
    assert payload.meta["layout"] == "classes"
    assert 0.4 < errors_in_steps(payload, state).square().mean().sqrt() < 0.6
    (by_class, by_tensor) = (len(payload.sections["residuals"]), len(by_tensors(learned, 0.05).sections["residuals"]))
    assert by_class < 0.95 * by_tensor


def by_tensors(learned, step):
    """The payload of a family, had it not told the sizes of its residuals."""
    silenced = [
        dataclasses.replace(each, prediction=dataclasses.replace(each.prediction, log_variance=torch.zeros(())))
        for each in learned.decoders
    ]
    payload = dataclasses.replace(learned, decoders=tuple(silenced)).encode(step)
    assert payload.meta["layout"] == "tensors"
    return payload


@pytest.mark.parametrize("name", ["dense", "conditioned", "labelled", "causal"])
def test_a_family_that_tells_no_sizes_has_no_classes(name):
    """A variance of its own, learned but not stored, would be another one when the file is read."""
    assert {fitted(name).encode(step).meta["layout"] for step in (0.05, 0.8, 3.0)} == {"tensors"}


@pytest.mark.parametrize("step", [0.02, 0.3, 2.0])
def test_errors_of_predictions_from_restored_chunks_do_not_add_up(step):
    """Along a random walk, where each chunk follows from the one before."""
    walk = torch.cumsum(torch.randn(100, CHUNK, generator=torch.Generator().manual_seed(2)), dim=0)
    payload = FamilyCodec(settings("causal", epochs=4), step).encode({"w": walk})
    errors = errors_in_steps(payload, {"w": walk})
    assert errors.abs().max() < CAUSAL_ERROR + IMPRECISION / step
    assert errors.view(100, CHUNK)[-10:].square().mean().sqrt() < 0.7


def test_a_decoder_is_stored_the_more_coarsely_the_coarser_the_step(monkeypatch):
    """Of many weights that it predicts well: there a finer one pays."""
    monkeypatch.setattr(family_fit, "_DECODER_STEPS", (1.0, 0.25, 0.06))
    generator = torch.Generator().manual_seed(3)
    state = {"w": torch.randn(1000, 2, generator=generator) @ torch.randn(2, CHUNK, generator=generator)}
    learned = family_fit.fit(state, settings("dense", latent=2, epochs=8, learning_rate=1e-2), "cpu")
    chosen = [learned.encode(step).meta["decoder_step"] for step in (0.01, 0.1, 3.0)]
    assert chosen[0] < chosen[2]
    assert chosen == sorted(chosen)
    assert [each.step for each in learned.decoders] == sorted((each.step for each in learned.decoders), reverse=True)


def test_decoders_beyond_exact_arithmetic_are_left_out(monkeypatch):
    """They would be of no use: nobody could read them."""
    state = tensors()
    train = family_fit.train

    def exploded(*arguments, **options):
        network, history = train(*arguments, **options)
        for parameter in network.decoder.parameters():
            parameter.data.mul_(1e6)
        return network, history

    monkeypatch.setattr(family_fit, "train", exploded)
    with pytest.raises(UsageError, match="has not learned anything that can be stored"):
        FamilyCodec(settings("dense")).encode(state)


def status(field):
    """Of this process, in bytes."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{field}:"))
    return 1024 * int(line.split()[1])


def peak(make):
    """Bytes by which the memory of this process grows at most while something is made for the second time."""
    make()
    ctypes.CDLL(None).malloc_trim(0)  # gives back what was freed, which would be used again otherwise
    Path("/proc/self/clear_refs").write_text("5")
    before = status("VmRSS")
    make()
    return status("VmHWM") - before


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is measured with what Linux has")
@pytest.mark.parametrize(
    ("name", "num_weights", "sizes"),
    [
        ("heteroskedastic", 4_000_000, {"chunk": 256, "latent": 16, "hidden": 64}),
        ("heteroskedastic", 200_000, {"chunk": 2048, "latent": 16, "hidden": 2000}),
        ("labelled", 4_000_000, {"chunk": 256, "latent": 4, "hidden": 64}),
        ("conv", 100_000, {"chunk": 256, "latent": 100}),
        ("squeezed", 100_000, {"chunk": 256, "latent": 100}),
        ("conditioned", 1_000_000, {"chunk": 256, "latent": 16}),
        ("causal", 100_000, {"chunk": 256}),
    ],
)
def test_the_memory_that_decoding_takes_is_known_before(name, num_weights, sizes, monkeypatch):
    def untrained(blocks, chosen, **_):
        widths = Sizes(chosen.chunk, chosen.latent, chosen.hidden or 128, blocks.num_tensors)
        return build_family(chosen.family, widths).eval(), []

    monkeypatch.setattr(family_fit, "train", untrained)
    monkeypatch.setattr(family_fit, "_DECODER_STEPS", (1.0,))
    state = {"w": torch.randn(num_weights // 100, 100)}
    payload = FamilyCodec(VAESettings.of(name, **sizes), 1.0).encode(state)
    taken = peak(lambda: FamilyCodec.decode(payload, specs_of(state))) - 4 * num_weights
    known = family_working_bytes(payload.meta, num_weights)
    assert taken < known < max(3 * taken, 256 << 20)


def test_an_encoder_takes_no_memory_when_a_file_is_read():
    """Of this network it has 134 million weights, the decoder fewer than a million."""
    meta = fitted("conv").encode(0.3).meta | {"chunk": 2048, "latent": 256, "padding": 0}
    assert family_working_bytes(meta, 2048) < 192 << 20


@dataclasses.dataclass(frozen=True)
class Fitted:
    """A codec that has been fitted before."""

    family: str
    name = FamilyCodec.name
    decode = staticmethod(FamilyCodec.decode)

    def encode(self, tensors, progress=silent):
        return fitted(self.family).encode(0.3)


@pytest.fixture
def file(name, tmp_path):
    """One of every family."""
    path = tmp_path / "model.wz"
    path.write_bytes(encode(from_object(dict(tensors())), Fitted(name)).pack())
    return path


def test_what_reads_files_reads_these(file, name):
    whole, one = weightzip.restore(file), weightzip.restore(file, tensor="fc.bias")
    assert list(one) == ["fc.bias"]
    assert torch.equal(one["fc.bias"], whole["fc.bias"])
    assert same(whole, restored(fitted(name).encode(0.3)))
    for summary in (weightzip.test(file), weightzip.info(file)):
        assert summary["preset"] == "paper"
        assert summary["file_bytes"] == file.stat().st_size == sum(summary["sections"].values())
        assert summary["latents"] == fitted(name).encode(0.3).latents
        assert (summary["latent_ratio"] is None) == (name == "causal")
    sections = fitted(name).encode(0.3).sections
    assert {kind: weightzip.info(file)["sections"][kind] for kind in sections} == {
        kind: len(data) for kind, data in sections.items()
    }


def test_the_preset_codes_all_families_but_the_published_one_here(tmp_path):
    for name, codec in (("heteroskedastic", "paper.family"), ("dense", "paper.2")):
        weightzip.compress(dict(tensors()), tmp_path / f"{name}.wz", preset="paper", vae=settings(name))
        assert decode((tmp_path / f"{name}.wz").read_bytes()).header.codec == codec


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"chunk": 8193}, "--chunk, --latent or --hidden is too large: at most 8,192 units a layer are allowed"),
        ({"latent": 8193}, "--chunk, --latent or --hidden is too large"),
        ({"hidden": 8193}, "--chunk, --latent or --hidden is too large"),
        ({"chunk": 2, "latent": 1000}, "--latent 1000 is too large for --chunk 2: at most 4 a weight"),
    ],
)
def test_networks_too_large(given, match):
    with pytest.raises(UsageError, match=match):
        FamilyCodec(settings("heteroskedastic", **given)).encode(tensors())


def test_weights_are_needed():
    with pytest.raises(UsageError, match="needs floating-point weights"):
        encode(from_object({"w": torch.zeros(0, 3)}), FamilyCodec())


def test_a_family_that_is_misspelt():
    with pytest.raises(UsageError, match=r"unknown family 'heteroscedastic'; did you mean heteroskedastic\? use one of dense,"):
        VAESettings.of("heteroscedastic")


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"preset": "auto"}, "add --preset paper"),
        ({"lossless": True, "preset": "paper"}, "--lossless stands alone"),
        ({"preset": "paper", "ratio": 10}, "--preset paper has no target"),
    ],
)
def test_what_does_not_go_with_a_family(tmp_path, options, match):
    with pytest.raises(UsageError, match=match):
        weightzip.compress(dict(tensors()), tmp_path / "x.wz", vae=settings("heteroskedastic"), **options)
    assert list(tmp_path.iterdir()) == []


def test_payloads_of_other_parts_are_refused():
    """Fewer tensors than the decoder tells apart."""
    payload = fitted("heteroskedastic").encode(0.3)
    with pytest.raises(weightzip.WeightzipError, match="more tensors apart than there are"):
        FamilyCodec.decode(Payload(payload.sections, payload.meta), [TensorSpec("w", (2345,), "float32")])
