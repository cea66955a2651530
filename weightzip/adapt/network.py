"""A task's module whose tensors can be replaced by any others, differentiable ones included."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call

from weightzip.checkpoint import Checkpoint, apply_view, locate, module_state, specs_of, with_prefix_of
from weightzip.tasks import Task, build_module, check_fit, forward, map_tensors
from weightzip.tasks.protocol import Batch


class Network:
    """The module of a task, holding the weights of a checkpoint, in evaluation mode on a device.

    trained: the names of the checkpoint's tensors that are parameters of the module. Buffers are not trained.
    """

    def __init__(self, task: Task, checkpoint: Checkpoint, device: str) -> None:
        """Raises CheckpointError where keys or shapes do not fit the module, TaskError where there is none."""
        self.task, self.device = task, device
        self.module = build_module(task)
        tensors = {name: checkpoint.dense(name) for name in checkpoint.tensors}
        state = with_prefix_of(self.module, module_state(checkpoint.layout, tensors))
        check_fit(self.module, state, task.name)
        self.module.load_state_dict(state)
        self.module.eval().requires_grad_(False).to(device)
        if device == "cuda":
            _let_recurrent_nets_train(self.module)
        places = locate(checkpoint.layout, specs_of(checkpoint.tensors))
        prefix = checkpoint.layout.prefix
        self.places = with_prefix_of(self.module, {key.removeprefix(prefix): place for key, place in places.items()})
        self._dtypes = {key: tensor.dtype for key, tensor in self.module.state_dict().items() if isinstance(tensor, Tensor)}
        parameters = {key for key, _ in self.module.named_parameters(remove_duplicate=False)}
        self.trained = frozenset(place.base for key, place in self.places.items() if key in parameters)

    def outputs(self, tensors: Mapping[str, Tensor], inputs: Batch, source: str) -> Batch:
        """The module's outputs with these of the checkpoint's tensors in place of its own; source: what gave the inputs."""
        learned = {name: tensor if name in self.trained else tensor.detach() for name, tensor in tensors.items()}
        state = {
            key: apply_view(learned[place.base], place.view).to(self._dtypes[key])
            for key, place in self.places.items()
            if place.base in learned
        }

        def module(*arguments: object, **keywords: object) -> Batch:
            return functional_call(self.module, state, arguments, keywords, tie_weights=False)

        return forward(self.task, module, inputs, source)

    @torch.no_grad()
    def original_outputs(self, inputs: Batch, source: str) -> Batch:
        """The outputs of the checkpoint itself, computed as those with gradients are."""
        fast = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            return forward(self.task, self.module, inputs, source)
        finally:
            torch.backends.mha.set_fastpath_enabled(fast)

    def placed(self, batch: Batch) -> Batch:
        """A batch on the module's device."""
        return map_tensors(lambda tensor: tensor.to(self.device), batch)


def _let_recurrent_nets_train(module: nn.Module) -> None:
    """cuDNN's recurrent layers have gradients in training mode only, which is the same as evaluation without dropout."""
    for layer in module.modules():
        if isinstance(layer, nn.RNNBase):
            layer.dropout = 0.0
            layer.train()
