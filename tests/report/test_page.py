"""The HTML page: self-contained, escaped, and saying what was measured. tests/browser tests how it behaves."""

import base64
import hashlib
import html as escaping
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from weightzip.metric import Metric
from weightzip.report.page import render
from weightzip.results import AUTO, FINETUNED, LOSSLESS, PAPER, Histogram, TensorShare

_FETCHING = ("src", "srcset", "href", "data", "poster", "action", "xlink:href")


class Page(HTMLParser):
    """What a page holds: its text, its tags, and everything that a browser would fetch or go to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text, self.tags, self.addresses, self.attributes = "", [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in _FETCHING]
        self.attributes += [name for name, _ in attrs]

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def source(report) -> str:
    return (report.directory / "report.html").read_text()


@pytest.fixture
def page(source) -> Page:
    return Page(source)


def test_nothing_is_fetched(page, source):
    assert page.addresses
    assert all(address.startswith("#") for address in page.addresses)
    assert not {"link", "iframe", "object", "img", "image"} & set(page.tags)
    assert not re.search(r"https?://|url\((?!#)|@import", source)


def test_only_the_pages_own_script_and_style_may_run(page, source):
    policy = escaping.unescape(re.search(r'Content-Security-Policy" content="([^"]*)"', source)[1])
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for tag, directive in (("script", "script-src"), ("style", "style-src")):
        (text,) = re.findall(rf"<{tag}>(.*?)</{tag}>", source, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}'" in policy
    assert not [name for name in page.attributes if name == "style" or name.startswith("on")]


def test_hostile_names_are_text(page, source):
    assert "alert(1)</script>" not in source
    assert "a$b$<i>.safetensors on tell <b>lines</b> apart & count" in page.text
    assert "accuracy <script>alert(1)</script>" in page.text
    assert not {"i", "b"} & set(page.tags)
    assert page.tags.count("script") == 1


def test_every_point_and_both_accountings_are_told(page, report):
    for point in report.points:
        assert point.setting in page.text
        assert f"{point.file_bytes:,}" in page.text
        assert point.command in page.text
    main = next(point for point in report.points if point.setting == "latent 4")
    assert f"{main.latent_ratio:.1f}x" in page.text
    assert "the latents alone" in " ".join(page.text.split())


def test_versions_are_told_but_no_paths(page, report, checkpoint):
    import weightzip

    assert f"weightzip {weightzip.__version__}" in page.text
    assert "core" in page.text
    without = replace(report.results, files=tuple(replace(s, point=replace(s.point, command="")) for s in report.results.files))
    told = render(replace(report, results=without))  # a command names the checkpoint as it was named
    assert str(checkpoint.parent) not in told
    assert str(Path.home()) not in told


def test_the_same_results_give_the_same_page(report):
    assert render(report) == render(report)


def test_no_setting_is_good_enough(report):
    files = tuple(replace(stored, point=replace(stored.point, value=1.0)) for stored in report.results.files)
    told = Page(render(replace(report, results=replace(report.results, files=files)))).text
    assert "No lossy setting of weightzip keeps accuracy" in told
    assert "see where they went" not in told
    assert "no setting loses that little" in told


def only(report, *methods) -> Page:
    files = tuple(stored for stored in report.results.files if stored.point.method in methods)
    study = replace(report.study, latents=(), times=(), fit=None)
    return Page(render(replace(report, results=replace(report.results, files=files, study=study))))


def test_a_report_of_a_few_methods(report):
    told = " ".join(only(report, "cast").text.split())
    assert "weightzip auto" not in told
    assert "of the other methods" not in told
    assert "Nobody looked into these files" in told
    told = " ".join(only(report, AUTO).text.split())
    assert "No other method" not in told
    assert "The paper\u2019s findings" not in told


def test_a_single_number_of_latents_is_compared_to_none(report):
    assert "From 8 to 2 latents per chunk" in Page(render(report)).text
    alone = replace(report.results, study=replace(report.study, latents=report.study.latents[:1]))
    assert "latents per chunk the" not in Page(render(replace(report, results=alone))).text


def test_a_lossless_report_tells_where_its_bytes_went(report):
    told = " ".join(only(report, LOSSLESS, "cast").text.split())
    assert "weightzip lossless, exact: " in told
    assert "Nobody looked" not in told


def changed(report, title, **changes):
    """The report with other figures for a point."""
    files = [
        replace(stored, point=replace(stored.point, **changes)) if stored.point.title == title else stored
        for stored in report.results.files
    ]
    return replace(report, results=replace(report.results, files=tuple(files)))


def test_the_file_that_the_summary_tells_of_comes_first(report):
    smallest = f"{PAPER}, latent 2"  # not the paper's own setting
    source = render(changed(report, smallest, value=report.original, ratio=5000.0))
    assert f"with {smallest}, and" in Page(source).text
    assert re.search(r"<h3>([^<]*):", source[source.index("bytes-title") :])[1] == smallest
    assert "see where they went" in source


def test_an_adaptation_that_lost_too_much_is_told_all_the_same(report):
    files = [replace(stored, point=replace(stored.point, method=FINETUNED, value=50.0)) for stored in report.files[:1]]
    lost = replace(report, results=replace(report.results, files=tuple(files)))
    assert "Nobody looked" not in render(lost)


def test_a_file_that_is_larger(report):
    (first, *_) = report.files
    alone = replace(report, results=replace(report.results, files=(first,)))
    told = Page(render(changed(alone, first.point.title, value=report.original, ratio=0.8))).text
    assert "1.25x larger, nothing lost" in told


def test_no_bytes_at_all(report):
    files = [replace(stored, point=replace(stored.point, ratio=0.0, latent_ratio=None)) for stored in report.results.files]
    results = replace(report.results, input_bytes=0, files=tuple(files))
    assert "nothing to make smaller" in render(replace(report, results=results))


def test_a_metric_without_percent(report):
    results = replace(report.results, original=0.5)
    files = [replace(stored, point=replace(stored.point, original=0.5, value=0.4987)) for stored in results.files]
    told = Page(render(replace(report, metric=Metric("F1"), results=replace(results, files=tuple(files))))).text
    assert "0.0013 of F1 lost" in told


def test_tensors_of_no_weights_and_files_without_tensors(report):
    nothing = TensorShare("empty.weight", (0, 3), "float32", "exact", 0, 0.0, float("nan"), float("nan"), None)
    flat = TensorShare("one", (), "float32", "exact", 1, 4.0, 0.0, 0.0, Histogram(0.0, 0.0, (1,), (1,)))
    files = tuple(replace(stored, tensors=(nothing, flat)) for stored in report.results.files)
    told = render(replace(report, results=replace(report.results, files=files)))
    assert "empty.weight" in told
    assert "nan bits" not in told
    bare = tuple(replace(stored, tensors=()) for stored in report.results.files)
    assert "By tensor" not in render(replace(report, results=replace(report.results, files=bare)))


def test_names_that_no_encoding_knows(report):
    odd = replace(report, model="weights\udc80\x08.pt", metric=Metric("F1\x08\ud800, %"))
    assert "weights" in render(odd).encode(errors="replace").decode()
