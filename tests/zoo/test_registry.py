import subprocess
import sys

import pytest
from safetensors.torch import load_file

from weightzip.errors import UsageError
from weightzip.tasks import evaluate_state, load_task
from weightzip.zoo import entry, names

# What the four models of the paper and the two LeNets have to reach on the test images, in percent.
REQUIRED_ACCURACY = {
    "mnist-fnn": 98.08,
    "mnist-cnn": 98.79,
    "mnist-rnn": 97.93,
    "mnist-lstm": 98.90,
    "lenet-300-100": 98.37,
    "lenet-5": 99.02,
}


def test_names():
    assert names() == ("mnist-fnn", "mnist-cnn", "mnist-rnn", "mnist-lstm", "lenet-300-100", "lenet-5")


def test_entry_suggests_a_name():
    with pytest.raises(UsageError, match="did you mean mnist-lstm"):
        entry("mnist-ltsm")


def test_entry_lists_the_names():
    with pytest.raises(UsageError, match="no such model in the zoo; choose from mnist-fnn, mnist-cnn"):
        entry("vgg")


def test_import_leaves_torch_alone():
    code = "import sys, weightzip.zoo as zoo; zoo.entry(zoo.names()[0]); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", names())
def test_shipped_checkpoint_has_its_accuracy(name):
    item = entry(name)
    state = load_file(item.checkpoint)
    assert {str(value.dtype) for value in state.values()} == {"torch.float32"}
    assert sum(value.numel() for value in state.values()) == item.num_weights
    # Another machine's arithmetic may flip a few of the 10,000 images.
    assert evaluate_state(load_task(f"zoo:{name}"), state) == pytest.approx(item.accuracy, abs=0.03)
    assert item.accuracy >= REQUIRED_ACCURACY[name]
