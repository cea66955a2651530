"""What a checkpoint is for: a module, and a number that says how well it does its job.

It knows the Task protocol, how tasks are found, and how weights are evaluated; it never knows codecs or any one task.
"""

from weightzip.tasks.evaluate import evaluate_state
from weightzip.tasks.load import load_task
from weightzip.tasks.protocol import CalibrationTask, Task, TrainingTask

__all__ = ["CalibrationTask", "Task", "TrainingTask", "evaluate_state", "load_task"]
