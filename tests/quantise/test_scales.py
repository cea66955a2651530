import numpy as np

from weightzip.quantise import Scales


def test_classes_are_sums_that_stay_in_range():
    scales = Scales(np.array([-100, 0, 5, 2**31 - 1], np.int32), np.array([0, 2**31 - 1], np.int32))
    classes = scales.classes()
    assert classes.dtype == np.uint8
    assert classes.tolist() == [[0, 23], [0, 23], [5, 23], [23, 23]]
