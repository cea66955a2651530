"""Nothing is tuned to the zoo: a convolutional net with batch norm and a transformer encoder, trained here."""

import pytest
from nets import NORMED, PATCHES, trained

import weightzip


@pytest.mark.slow
@pytest.mark.parametrize("task", [NORMED, PATCHES], ids=["normed", "patches"])
def test_a_level_takes_its_share_of_what_no_data_take(task, tmp_path):
    state = trained(task)
    plain = weightzip.compress(state, tmp_path / "plain.wz", max_drop=1, task=task)
    for level, share in (("calibrate", 0.75), ("finetune", 0.35)):
        adapted = weightzip.compress(state, tmp_path / f"{level}.wz", max_drop=1, task=task, adapt=level)
        assert adapted["metric"]["restored"] >= adapted["metric"]["original"] - 1
        assert adapted["file_bytes"] <= share * plain["file_bytes"]
