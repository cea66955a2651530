import pytest
import torch

from weightzip.quantise.feedback import quantise_by_feedback, quantise_by_rows

ROWS, COLUMNS, MAGNITUDES = 40, 24, 15


def values(size=1.5, seed=0):
    return size * torch.randn(ROWS, COLUMNS, generator=torch.Generator().manual_seed(seed))


def correlated(columns=COLUMNS, decay=0.9):
    """Moments of inputs that resemble their neighbours."""
    distance = (torch.arange(columns)[:, None] - torch.arange(columns)).abs()
    return decay ** distance.double()


def slopes(bits=2.0):
    """Every magnitude costs so much more than the one below it."""
    return torch.full((ROWS, COLUMNS, MAGNITUDES), bits)


def output_error(exact, symbols, moments):
    """tr((Z - Q) H (Z - Q)')."""
    off = exact.double() - symbols
    return float(torch.trace(off @ moments @ off.T))


def test_inputs_that_know_nothing_of_each_other_leave_plain_rounding():
    exact = values()
    symbols, before = quantise_by_feedback(exact, torch.eye(COLUMNS, dtype=torch.float64), 0.0, slopes())
    assert torch.equal(symbols, exact.double().round())
    assert torch.allclose(before, exact.double(), atol=1e-9)


@pytest.mark.parametrize(("decay", "share"), [(0.5, 0.9), (0.9, 0.4), (0.99, 0.1)])
def test_outputs_are_closer_than_by_rounding(decay, share):
    """The more so, the more the inputs resemble each other."""
    exact, moments = values(), correlated(decay=decay)
    symbols, _ = quantise_by_feedback(exact, moments, 0.0, slopes())
    assert output_error(exact, symbols, moments) < share * output_error(exact, exact.double().round(), moments)


def test_symbols_are_integers_and_the_nearest_to_what_feedback_made_of_the_values():
    symbols, before = quantise_by_feedback(values(), correlated(), 0.0, slopes())
    assert symbols.dtype == torch.float64
    assert torch.equal(symbols, before.round())
    assert (before - symbols).abs().max() <= 0.5


def test_the_columns_after_the_first_make_good_its_error():
    """By hand, for two columns: the second gets the first one's error times H12 / H22, damping apart."""
    moments = torch.tensor([[1.0, 0.8], [0.8, 1.0]], dtype=torch.float64)
    exact = torch.tensor([[0.3, 0.3]])
    symbols, before = quantise_by_feedback(exact, moments, 0.0, torch.zeros(1, 2, MAGNITUDES))
    assert before[0, 0].item() == pytest.approx(0.3)
    assert before[0, 1].item() == pytest.approx(0.3 + 0.3 * 0.8 / 1.01, rel=1e-6)
    assert symbols.tolist() == [[0.0, 1.0]]


def test_the_first_column_gets_nothing():
    exact = values()
    _, before = quantise_by_feedback(exact, correlated(), 0.0, slopes())
    assert torch.equal(before[:, 0], exact[:, 0].double())
    assert (before[:, 1:] - exact[:, 1:]).abs().mean() > 0.1


def test_dearer_bits_make_fewer_of_them_and_larger_errors():
    exact, moments = values(), correlated()
    bits, errors = [], []
    for price in (0.0, 0.05, 0.2, 0.5):
        symbols, _ = quantise_by_feedback(exact, moments, price, slopes())
        bits.append(2 * float(symbols.abs().sum()))
        errors.append(output_error(exact, symbols, moments))
    assert bits == sorted(bits, reverse=True)
    assert errors == sorted(errors)
    assert bits[0] > 1.5 * bits[-1]


def test_a_bargain_is_where_error_and_bits_say_it_is():
    """One column by itself: rounding 0.7 down instead of up costs 0.49 - 0.09 squared steps, which 2 bits are worth at 0.2."""
    one = torch.ones(1, 1, dtype=torch.float64)
    found = [
        quantise_by_feedback(torch.tensor([[-0.7]]), one, price, torch.full((1, 1, MAGNITUDES), 2.0))[0].item()
        for price in (0.199, 0.201)
    ]
    assert found == [-1.0, 0.0]


def test_the_price_looks_two_symbols_down_and_never_beyond_zero():
    free = torch.full((1, 1, MAGNITUDES), 1e6)
    one = torch.ones(1, 1, dtype=torch.float64)
    found = {
        value: quantise_by_feedback(torch.tensor([[value]]), one, 1.0, free)[0].item() for value in (5.2, 2.0, 1.0, 0.2, -1.4)
    }
    assert found == {5.2: 3.0, 2.0: 0.0, 1.0: 0.0, 0.2: 0.0, -1.4: 0.0}


def test_each_magnitude_has_its_own_price():
    """Only the step from 1 to 2 costs anything."""
    dear = torch.zeros(1, 3, MAGNITUDES)
    dear[:, :, 1] = 100.0
    exact = torch.tensor([[1.1, 1.9, 3.1]])
    symbols, _ = quantise_by_feedback(exact, torch.eye(3, dtype=torch.float64), 0.1, dear)
    assert symbols.tolist() == [[1.0, 1.0, 1.0]]  # the last one from 3, over 2
    symbols, _ = quantise_by_feedback(exact, torch.eye(3, dtype=torch.float64), 0.0, dear)
    assert symbols.tolist() == [[1.0, 2.0, 3.0]]


def test_each_row_and_column_has_its_own_prices():
    dear = torch.zeros(2, 3, MAGNITUDES)
    dear[0, 2] = dear[1, 0] = 100.0
    symbols, _ = quantise_by_feedback(torch.full((2, 3), 1.1), torch.eye(3, dtype=torch.float64), 0.1, dear)
    assert symbols.tolist() == [[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]]


def test_magnitudes_beyond_the_last_price_cost_what_that_one_does():
    steep = torch.zeros(1, 1, MAGNITUDES)
    steep[:, :, -1] = 100.0
    one = torch.ones(1, 1, dtype=torch.float64)
    assert quantise_by_feedback(torch.tensor([[1000.3]]), one, 0.0, steep)[0].item() == 1000
    assert quantise_by_feedback(torch.tensor([[1000.3]]), one, 1.0, steep)[0].item() == 998
    assert quantise_by_feedback(torch.tensor([[14.3]]), one, 1.0, steep)[0].item() == 14


def test_bits_of_a_sensitive_column_are_cheap():
    """At the same price, what hardly matters is rounded down and what matters is not."""
    moments = torch.diag(torch.tensor([1e-3, 1.0, 1e3], dtype=torch.float64))
    exact = torch.full((1, 3), 0.7)
    symbols, _ = quantise_by_feedback(exact, moments, 0.15, torch.full((1, 3, MAGNITUDES), 2.0))
    assert symbols.tolist() == [[0.0, 0.0, 1.0]]


@pytest.mark.parametrize("case", ["all zero", "dead input", "same inputs", "one vector"])
def test_moments_without_an_inverse_make_nothing_grow(case):
    moments = correlated()
    if case == "all zero":
        moments = torch.zeros_like(moments)
    elif case == "dead input":
        moments[3] = moments[:, 3] = 0
    elif case == "same inputs":
        moments[3] = moments[4]
        moments[:, 3] = moments[:, 4]
    else:
        vector = torch.linspace(-1, 1, COLUMNS, dtype=torch.float64)
        moments = torch.outer(vector, vector)
    exact = values()
    symbols, before = quantise_by_feedback(exact, moments, 0.0, slopes())
    assert torch.isfinite(symbols).all()
    assert before.abs().max() < 4 * exact.abs().max()
    assert output_error(exact, symbols, moments) <= output_error(exact, exact.double().round(), moments)


def test_the_scale_of_the_moments_decides_nothing():
    first, second = (quantise_by_feedback(values(), size * correlated(), 0.1, slopes())[0] for size in (1.0, 1e6))
    assert torch.equal(first, second)


def test_values_are_left_as_they_are():
    exact = values()
    before = exact.clone()
    quantise_by_feedback(exact, correlated(), 0.1, slopes())
    assert torch.equal(exact, before)


def test_rows_that_count_more_are_kept_more_exactly():
    values = (3 * torch.randn(400, generator=torch.Generator().manual_seed(0))).repeat(4, 1)
    slopes = torch.full((4, 400, 15), 2.0)
    symbols = quantise_by_rows(values, torch.tensor([100.0, 10.0, 1.0, 0.0]), 0.1, slopes)
    assert torch.equal(symbols, symbols.round())
    errors = (values - symbols).square().mean(1)
    assert errors[0] < 0.1 < errors[2] <= errors[3]
    assert torch.equal(symbols.abs().sum(1), symbols.abs().sum(1).sort(descending=True)[0])
