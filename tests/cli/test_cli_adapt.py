"""The command line's adaptations: with a task's inputs, with its loss, and what is missing for them."""

import pytest

LEARNABLE = """

class Learnable(Task):
    def calibration(self):
        return [torch.randn(50, 64, generator=torch.Generator().manual_seed(seed)) for seed in range(2, 6)]

    def training(self):
        return [(inputs, torch.arange(50) % 10) for inputs in self.calibration()]

    def loss(self, outputs, targets):
        return torch.nn.functional.cross_entropy(outputs, targets)

learnable = Learnable()
"""


@pytest.fixture
def learnable(task, folder):
    path = folder / "task.py"
    path.write_text(path.read_text() + LEARNABLE)
    return "task.py:learnable"


@pytest.mark.parametrize("level", ["calibrate", "finetune"])
def test_a_level_meets_a_size(level, run, model, learnable, folder):
    arguments = ["--adapt", level, "--steps", "40", "--ratio", "8", "--task", learnable]
    summary = run("compress", model, *arguments, "--json").json
    assert summary["ratio"] >= 8
    assert summary["metric"]["name"] == "score, %"
    assert summary["file_bytes"] == (folder / "model.wz").stat().st_size
    assert {path.name for path in folder.iterdir() if "model" in path.name} == {"model.pt", "model.wz"}
    assert run("test", "model.wz").code == 0


def test_layer_by_layer(run, model, learnable):
    assert run("compress", model, "--adapt", "calibrate", "--steps", "0", "--ratio", "8", "--task", learnable).code == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--adapt", "calibrate"], "--adapt calibrate needs a task to learn from; name one with --task"),
        (["--adapt", "calibrate", "--task", "task.py:task"], "task toy has no calibration(); --adapt calibrate needs it"),
        (["--steps", "5"], "--steps is for adaptations; add --adapt calibrate or --adapt finetune"),
        (["--adapt", "finetune", "--lossless", "--task", "task.py:task"], "--lossless stands alone"),
        (["--adapt", "finetune", "--max-error", "1", "--task", "task.py:task"], "--max-error makes no sense"),
    ],
)
def test_what_is_missing_is_said(arguments, words, run, model, task, folder):
    result = run("compress", model, *arguments)
    assert (result.code, result.out) == (2, "")
    assert words in result.err
    assert not (folder / "model.wz").exists()


def test_a_size_out_of_reach_is_an_error(run, model, learnable, folder):
    result = run("compress", model, "--adapt", "calibrate", "--steps", "20", "--ratio", "1000", "--task", learnable)
    assert (result.code, result.out) == (1, "")
    assert "bytes are out of reach: the smallest file took" in result.err
    assert not (folder / "model.wz").exists()
