"""What a checkpoint is for: a module, and a number that says how well it does its job.

It knows the Task protocol, how tasks are found, how weights are evaluated, and how a task's data are read; it never knows
codecs or any one task.
"""

from weightzip.tasks.data import (
    build_module,
    calibration_inputs,
    forward,
    holds_only_tensors,
    map_tensors,
    num_examples,
    tensors_in_batch,
    training_batches,
)
from weightzip.tasks.evaluate import check_fit, evaluate_state
from weightzip.tasks.load import load_task
from weightzip.tasks.protocol import Batch, CalibrationTask, Task, TrainingTask

__all__ = [
    "Batch",
    "CalibrationTask",
    "Task",
    "TrainingTask",
    "build_module",
    "calibration_inputs",
    "check_fit",
    "evaluate_state",
    "forward",
    "holds_only_tensors",
    "load_task",
    "map_tensors",
    "num_examples",
    "tensors_in_batch",
    "training_batches",
]
