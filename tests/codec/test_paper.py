import dataclasses
import math

import pytest
import torch

import weightzip.codec.paper as paper
import weightzip.codec.paper_quantise as paper_quantise
from weightzip.checkpoint import from_object
from weightzip.codec import PaperCodec, decode, encode
from weightzip.codec.paper_header import PaperHeader, working_bytes
from weightzip.container import pack
from weightzip.errors import FormatError, LimitError, UsageError
from weightzip.interface import Payload, TensorSpec
from weightzip.threads import limited_threads
from weightzip.vae import VAESettings

NUM_WEIGHTS = 30 * 20 + 30
NUM_CHUNKS = 10
PADDING = 10  # 640 - 630


@pytest.fixture(scope="module")
def tensors():
    generator = torch.Generator().manual_seed(0)
    rows, columns = torch.randn(30, 3, generator=generator), torch.randn(3, 20, generator=generator)
    return {"w": 0.05 * rows @ columns + 0.01, "b": 0.02 * torch.randn(30, generator=generator)}


@pytest.fixture(scope="module")
def specs(tensors):
    return [TensorSpec(name, tuple(tensor.shape), "float32") for name, tensor in tensors.items()]


@pytest.fixture(scope="module")
def payload(tensors, tiny_vae):
    return PaperCodec(tiny_vae).encode(tensors)


@pytest.fixture
def trained(monkeypatch):
    """A list that each encoding adds its trained network to, as it was stored, and what was stored."""
    seen = []

    def remember(network, stored_error):
        stored = store(network, stored_error)
        seen.append((network, stored))
        return stored

    store = paper.store
    monkeypatch.setattr(paper, "store", remember)
    return seen


def flat(tensors):
    return torch.cat([tensor.reshape(-1) for tensor in tensors.values()]).double()


def test_the_latents_are_as_many_as_the_paper_counts(payload, tensors, tiny_vae):
    assert payload.latents == 4 * NUM_CHUNKS
    header = encode(from_object(tensors), PaperCodec(tiny_vae)).header
    assert header.latents == 4 * NUM_CHUNKS
    assert header.tensor_bytes / (4 * header.latents) == 4 * NUM_WEIGHTS / (4 * 40) == 15.75


def test_the_header_holds_the_padding(payload):
    assert payload.meta["padding"] == PADDING
    assert (payload.meta["chunk"], payload.meta["latent"]) == (64, 4)


def test_nothing_but_latents_and_decoder_is_stored(payload):
    assert set(payload.sections) == {"latents", "decoder"}


def test_it_restores_the_weights_roughly(payload, tensors, specs, tiny_vae):
    longer = dataclasses.replace(tiny_vae, epochs=100, copies=40, learning_rate=1e-2)
    restored = PaperCodec.decode(PaperCodec(longer, stored_error=0.01).encode(tensors), specs)
    error = sum(float((restored[name] - tensor).square().sum()) for name, tensor in tensors.items())
    energy = sum(float(tensor.square().sum()) for tensor in tensors.values())
    assert error < 0.06 * energy
    assert all(restored[name].shape == tensor.shape for name, tensor in tensors.items())


def test_the_same_seed_gives_the_same_bytes(payload, tensors, tiny_vae):
    again = PaperCodec(tiny_vae).encode(tensors)
    assert again.sections == payload.sections
    assert again.meta == payload.meta


def test_any_number_of_threads_gives_the_same_bytes(payload, tensors, tiny_vae):
    with limited_threads(2):
        assert PaperCodec(tiny_vae).encode(tensors).sections == payload.sections


def test_another_seed_gives_other_bytes(payload, tensors, tiny_vae):
    other = PaperCodec(dataclasses.replace(tiny_vae, seed=1)).encode(tensors)
    assert other.sections != payload.sections


def test_any_number_of_threads_restores_the_same_bits(payload, specs):
    results = []
    for threads in (1, 2):
        with limited_threads(threads):
            results.append(PaperCodec.decode(payload, specs))
    assert all(torch.equal(results[0][name], results[1][name]) for name in results[0])


@pytest.mark.parametrize("stored_error", [0.1, 0.01, 1e-4, 1e-6])
def test_the_stored_decoder_is_within_its_error(tensors, specs, tiny_vae, stored_error):
    """Against the finished network in double precision, in units of the weights' deviation."""
    payload = PaperCodec(tiny_vae, stored_error=stored_error).encode(tensors)
    restored, ideal = PaperCodec.decode(payload, specs), payload.notes["float_decoder"]
    moved = (flat(restored) - flat(ideal)) / flat(tensors).std(correction=0)
    error = float(moved.square().mean())
    assert 0.5 * stored_error < error <= 1.02 * stored_error * 640 / NUM_WEIGHTS  # the budget is for the padding, too


def test_the_output_layer_is_trained_to_the_end(trained, tiny_vae):
    """What the finished network leaves over, no other output layer could take away: its hidden units say nothing about it."""
    weights = torch.randn(60, 64, generator=torch.Generator().manual_seed(1))
    PaperCodec(dataclasses.replace(tiny_vae, hidden=8)).encode({"w": weights})
    ((network, _),) = trained
    hidden = torch.nn.functional.leaky_relu(network.latents @ network.first[:, :-1].T + network.first[:, -1], 1 / 8)
    left_over = (weights - weights.mean()) / weights.std(correction=0) - network.outputs
    assert left_over.square().mean() > 0.01
    assert (hidden.T @ left_over).abs().max() < 1e-2


def test_a_larger_error_makes_a_smaller_decoder(tensors, tiny_vae):
    sizes = [len(PaperCodec(tiny_vae, stored_error=error).encode(tensors).sections["decoder"]) for error in (1e-6, 1e-3, 0.1)]
    assert sizes[0] > 1.5 * sizes[1] > 1.5 * sizes[2]


def test_the_notes_tell_the_losses_by_epoch(payload):
    assert [epoch["epoch"] for epoch in payload.notes["history"]] == [1, 2, 3, 4, 5]
    assert all(math.isfinite(epoch["validation"]) for epoch in payload.notes["history"])


@pytest.mark.parametrize("hidden", [None, 3, 40])
def test_any_width(tensors, specs, tiny_vae, hidden):
    payload = PaperCodec(dataclasses.replace(tiny_vae, hidden=hidden)).encode(tensors)
    assert payload.meta["hidden"] == (hidden or payload.meta["hidden"])
    assert PaperCodec.decode(payload, specs)["w"].shape == (30, 20)


@pytest.mark.parametrize(
    "weights",
    [
        torch.full((40, 10), 0.3),
        torch.zeros(100),
        torch.tensor(2.5),
        torch.randn(64, 2),
        torch.randn(50, 2) * 1e-40,
        torch.randn(50, 2) * 1e35,
        torch.cat([torch.randn(99), torch.tensor([1e6])]),
    ],
    ids=["constant", "zero", "scalar", "no padding", "subnormal", "large", "outlier"],
)
def test_any_weights(through_bytes, tiny_vae, weights):
    restored = through_bytes({"w": weights}, PaperCodec(tiny_vae)).tensors["w"]
    assert restored.shape == weights.shape
    assert torch.isfinite(restored).all()
    if weights.unique().numel() == 1:
        torch.testing.assert_close(restored, weights, rtol=0, atol=0.3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_dtypes_come_back_in_theirs(through_bytes, tiny_vae, dtype):
    assert through_bytes({"w": torch.randn(20, 10).to(dtype)}, PaperCodec(tiny_vae)).tensors["w"].dtype == dtype


def test_weights_are_needed():
    with pytest.raises(UsageError, match="needs floating-point weights"):
        encode(from_object({"w": torch.zeros(0, 3)}), PaperCodec())


TOO_LARGE = ({"chunk": 1 << 17}, {"latent": 1 << 17}, {"hidden": 1 << 17}, {"chunk": 1 << 15, "hidden": 1 << 12})


@pytest.mark.parametrize("size", TOO_LARGE)
def test_a_network_too_large_is_refused(tensors, size):
    with pytest.raises(UsageError, match="too large"):
        PaperCodec(VAESettings(**size)).encode(tensors)


def test_exact_tensors_are_no_part_of_the_chunks(tiny_vae):
    state = {"ids": torch.arange(1000), "w": torch.randn(10, 10), "nan": torch.full((500,), math.nan)}
    decoded = decode(encode(from_object(state), PaperCodec(tiny_vae)).pack())
    assert decoded.header.latents == 2 * 4
    assert torch.equal(decoded.tensors["ids"], state["ids"])


def refuses(payload, specs, match, error=FormatError, **meta):
    with pytest.raises(error, match=match):
        PaperCodec.decode(Payload(payload.sections, {**payload.meta, **meta}), specs)


@pytest.mark.parametrize("name", ["chunk", "latent", "hidden", "padding", "mean_shift"])
@pytest.mark.parametrize("value", [-1, 1.0, True, None, "4"])
def test_sizes_that_are_no_whole_numbers(payload, specs, name, value):
    refuses(payload, specs, "sizes must be whole numbers", **{name: value})


@pytest.mark.parametrize("name", ["unit", "offset"])
@pytest.mark.parametrize("value", [math.nan, math.inf, 10**400, None, True, "1"])
def test_scales_that_are_no_numbers(payload, specs, name, value):
    refuses(payload, specs, "scale is out of range", **{name: value})


def test_a_mean_shift_beyond_exact_integers(payload, specs):
    refuses(payload, specs, "scale is out of range", mean_shift=53)


def test_chunks_of_no_weights(payload, specs):
    refuses(payload, specs, "chunks are empty", chunk=0)


@pytest.mark.parametrize("size", TOO_LARGE)
def test_a_stored_network_too_large(payload, specs, size):
    refuses(payload, specs, "at most", LimitError, **size)


def test_a_network_that_takes_more_memory_than_the_cap_is_refused(tensors, tiny_vae):
    """Three hundred bytes that restore one weight, through a decoder of 34 million."""
    coded = encode(from_object({"w": torch.ones(1)}), PaperCodec(tiny_vae))
    header = coded.header.to_json()
    header["meta"] |= {"chunk": 65536, "padding": 65535, "hidden": 512}
    with pytest.raises(LimitError, match=r"restores to 4 bytes and takes 8\d\d,\d{3},\d{3} to decode, over the cap of 1,000"):
        decode(pack(header, coded.sections), memory=1000)


def test_the_papers_own_settings_need_no_more_than_the_allowance():
    meta = dataclasses.asdict(PaperHeader(2048, 64, 128, 0, 0, 1.0, 0.0))
    assert working_bytes(meta, 2048 * 500) < 64 << 20


def test_latents_by_far_more_than_weights_are_refused(tensors, payload):
    with pytest.raises(UsageError, match="--latent 1000 is too large for --chunk 2: at most 4 a weight"):
        PaperCodec(VAESettings(chunk=2, latent=1000)).encode(tensors)
    many = [TensorSpec("w", (2000,), "float32")]
    refuses(payload, many, "2,000,000 latents for 2,000 weights", LimitError, chunk=1, latent=1000, padding=0)


@pytest.mark.parametrize("padding", [PADDING + 1, PADDING - 1, PADDING + 64])
def test_a_padding_that_does_not_fit(payload, specs, padding):
    refuses(payload, specs, "padding does not fit", padding=padding)


def test_an_unknown_or_missing_field(payload, specs):
    refuses(payload, specs, "exactly the fields", more=1)
    meta = {name: value for name, value in payload.meta.items() if name != "unit"}
    with pytest.raises(FormatError, match="exactly the fields"):
        PaperCodec.decode(Payload(payload.sections, meta), specs)


@pytest.mark.parametrize("sections", [["latents"], ["decoder"], [], ["latents", "decoder", "more"]])
def test_sections_missing_or_added(payload, specs, sections):
    changed = {name: payload.sections.get(name, b"") for name in sections}
    with pytest.raises(FormatError, match="exactly the sections latents and decoder"):
        PaperCodec.decode(Payload(changed, payload.meta), specs)


@pytest.mark.parametrize("section", ["latents", "decoder"])
@pytest.mark.parametrize("data", [b"", b"\xff\xff\xff\xff", b"\5\0\0\0abc"])
def test_sections_cut_short(payload, specs, section, data):
    with pytest.raises(FormatError, match="cut short"):
        PaperCodec.decode(Payload({**payload.sections, section: data}, payload.meta), specs)


def test_latents_and_first_layer_are_no_finer_than_pays(trained, tiny_vae):
    """Where hidden units are far fewer than chunks, a small error needs finer ones than a large error."""
    weights = torch.randn(60, 64, generator=torch.Generator().manual_seed(1))
    for stored_error in (1e-4, 0.1):
        PaperCodec(dataclasses.replace(tiny_vae, hidden=8), stored_error=stored_error).encode({"w": weights})
    (_, fine), (_, coarse) = trained
    assert paper_quantise.num_bytes(fine.latents) > 1.5 * paper_quantise.num_bytes(coarse.latents)
    assert paper_quantise.num_bytes(fine.first) > 1.5 * paper_quantise.num_bytes(coarse.first)
