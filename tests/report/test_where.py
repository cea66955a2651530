"""Where the bytes of a file went: the parts add up, in strips, tables and histograms."""

import re
from dataclasses import replace

import pytest
from made_up_report import BINS, NUM_TENSORS, make_report

from weightzip.report.histogram import HEIGHT, picture
from weightzip.report.where import MOST_HISTOGRAMS, STRIP, file_view
from weightzip.results import Histogram


@pytest.fixture(scope="module")
def stored():
    return next(stored for stored in make_report().results.files if stored.tensors)


@pytest.fixture(scope="module")
def view(stored):
    return file_view(0, stored)


@pytest.mark.parametrize("strip", ["sections", "tensors"])
def test_strips_are_the_whole_file_side_by_side(view, stored, strip):
    slices = getattr(view, strip)
    assert sum(part.num_bytes for part in slices) == pytest.approx(stored.point.file_bytes)
    assert sum(part.share for part in slices) == pytest.approx(100)
    end = 0.0
    for part in slices:
        assert part.start == pytest.approx(end, abs=0.02)
        end = part.start + part.width
    assert end == pytest.approx(STRIP, abs=0.1)


def test_sections_come_largest_first_and_say_what_they_are(view):
    assert [part.name for part in view.sections] == ["symbols", "symbols.1", "model", "header"]
    assert {part.what for part in view.sections[:2]} == {"the quantised weights, entropy coded"}


def test_small_tensors_are_one_part_and_what_is_shared_another(view):
    *largest, others, shared = view.tensors
    assert len(largest) == 12
    assert others.name == f"{NUM_TENSORS - 12} other tensors"
    assert shared.num_bytes == view.shared_bytes == pytest.approx(0.2 * view.stored.point.file_bytes)


def test_rows_know_their_place_and_their_bars(view, stored):
    assert [stored.tensors[row.number] for row in view.rows] == [row.tensor for row in view.rows]
    sizes = [row.tensor.stored_bytes for row in view.rows]
    assert sizes == sorted(sizes, reverse=True)
    assert (view.rows[0].bytes_bar, view.rows[0].error_bar) == (100, 100)
    assert view.rows[9].bytes_bar == pytest.approx(100 * sizes[9] / sizes[0], abs=0.1)
    assert (view.rows[-1].tensor.name, view.rows[-1].bits_bar, view.rows[-1].error_bar) == ("nothing", 0, 0)


def test_histograms_are_of_the_largest(view):
    assert view.pictured == view.rows[:MOST_HISTOGRAMS]


def test_a_histogram_tells_what_it_shows(stored):
    drawn = picture(stored.tensors[3])
    assert drawn.width / BINS == 4
    assert drawn.zero == drawn.width / 2
    assert drawn.words.startswith("encoder.layer.0.attention.weight: weights from -0.5 to 0.5 in 64 bins. Before, ")
    assert re.search(r"after, \d bins hold weights, the fullest 3\d%\.$", drawn.words)
    heights = [int(step) for step in re.findall(r"v(-?\d+)", drawn.after)]
    assert sum(heights) == 0  # back to the base line
    assert min(heights) < -HEIGHT / 2


def test_a_histogram_on_one_side_of_zero_has_no_line_there(stored):
    drawn = picture(replace(stored.tensors[3], histogram=Histogram(1.0, 2.0, (3, 1), (4, 0))))
    assert drawn.zero is None
    assert drawn.after == f"M0 {HEIGHT}v-{HEIGHT}h4v{HEIGHT}h4v0z"
