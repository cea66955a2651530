"""README.md and docs/: every block of code runs as it stands there, in order, and prints what the page says it prints."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from pages import DATA, MARKS, PAGES, ROOT, RUN, Reader, blocks, environment, name_of, pages_before, write_files
from safetensors.torch import save_file
from warm_program import warm_program

TUTORIAL = ROOT / "docs" / "tutorial.md"
ALL = [block for page in PAGES for block in blocks(page)]
NOT_RUN = [block for block in ALL if "no-run" in block.marks]


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with warm_program(tmp_path_factory.mktemp("program") / "bin") as folder:
        yield folder


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory, program: Path) -> Path:
    """What a reader has who comes from the tutorial, and the source's `zoo`."""
    import torch

    folder = tmp_path_factory.mktemp("files")
    write_files(TUTORIAL, folder)
    subprocess.run([sys.executable, "spirals.py"], cwd=folder, check=True)
    save_file(torch.load(folder / "model.pt", weights_only=True), folder / "model.safetensors")
    (folder / "zoo").symlink_to(ROOT / "zoo")
    return folder


@pytest.fixture
def reader(request: pytest.FixtureRequest, tmp_path: Path, program: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reader]:
    page: Path = request.param
    folder = tmp_path / "reader"
    if page == TUTORIAL:
        folder.mkdir()
    else:
        shutil.copytree(request.getfixturevalue("files"), folder, symlinks=True)
        for other in pages_before(page):
            write_files(other, folder)
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    known = set(sys.modules)
    yield Reader(page, folder, environment(program))
    for module in set(sys.modules) - known:
        if str(tmp_path) in str(getattr(sys.modules[module], "__file__", "")):
            del sys.modules[module]


def quick(block) -> bool:
    return block.language in RUN and not block.marks.keys() & {"slow", "no-run", "file"}


QUICK = [page for page in PAGES if any(map(quick, blocks(page)))]
SLOW = [page for page in PAGES if any("slow" in block.marks for block in blocks(page))]


@pytest.mark.parametrize("reader", QUICK, indirect=True, ids=name_of)
def test_its_blocks_run(reader: Reader):
    reader.read(patient=False)


@pytest.mark.slow
@pytest.mark.parametrize("reader", SLOW, indirect=True, ids=name_of)
def test_all_its_blocks_run(reader: Reader):
    reader.read(patient=True)


def test_every_block_says_what_it_is():
    odd = [f"{block}: {block.language!r}" for block in ALL if block.language not in RUN | DATA and block.language[:1] != "{"]
    assert odd == []


def test_every_mark_is_known():
    odd = [f"{block}: {name}" for block in ALL for name in block.marks.keys() - MARKS if block.language in RUN | DATA]
    assert odd == []


def test_few_blocks_are_not_run():
    """Each needs another machine, a network or an environment of its own, and says so."""
    assert all(block.marks["no-run"] for block in NOT_RUN)
    assert len(NOT_RUN) <= 12, [str(block) for block in NOT_RUN]


def test_commands_stand_in_fences():
    """An indented block would be shown as one, and never run."""
    indented = [f"{name_of(page)}: {line}" for page in PAGES for line in outside_fences(page) if line.startswith("    ")]
    assert [line for line in indented if any(word in line for word in ("weightzip ", "pip install", "import "))] == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere_in_the_repository_too(page: Path):
    """The site has its own test; this is for those who read the pages where the source is."""
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", "\n".join(outside_fences(page)))
    assert [link for link in links if not (page.parent / link).exists()] == []


def outside_fences(page: Path) -> list[str]:
    lines, fence = [], False
    for line in page.read_text(encoding="utf-8").splitlines():
        if line.lstrip().startswith("```"):
            fence = not fence
        elif not fence:
            lines.append(line)
    return lines


@pytest.mark.parametrize("block", [block for block in ALL if block.language == "yaml"], ids=str)
def test_yaml_is_yaml(block):
    assert yaml.safe_load(block.source)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("```bash\nfalse\n```\n", "ended with 1"),
        ("<!-- exit: 3 -->\n```bash\ntrue\n```\n", "ended with 0"),
        ("<!-- each -->\n```bash\ntrue\nfalse\n```\n", "ended with 1"),
        ("```python\nassert False, 'odd'\n```\n", "odd"),
        ("```bash\necho 7 bytes\n```\n\n<!-- output -->\n```text\n8 bits\n```\n", "'8 bits' is not printed there"),
        ("```bash\necho one; echo two\n```\n\n<!-- output -->\n```text\ntwo\none\n```\n", "'one' is not printed there"),
        ("<!-- prepare: false -->\n", "false ended with 1"),
    ],
)
def test_a_page_that_is_wrong_is_noticed(tmp_path: Path, text: str, complaint: str):
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(AssertionError, match=complaint):
        Reader(page, tmp_path, environment(tmp_path)).read(patient=False)


def test_what_is_slow_is_left_out_and_numbers_may_differ(tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text(
        "<!-- slow -->\n```bash\nfalse\n```\n\n<!-- output -->\n```text\nnothing\n```\n"
        "```bash\necho 1,234 bytes, 5.6x\n```\n\n<!-- output -->\n```text\n...\n99 bytes, 0.1x\n```\n"
    )
    Reader(page, tmp_path, environment(tmp_path)).read(patient=False)
