from dataclasses import replace

import pytest
import torch

from weightzip.checkpoint import from_object, module_state, state_dict


def weights(*names):
    return {name: torch.ones(2) for name in names}


ADAM = {"state": {0: weights("exp_avg")}, "param_groups": [{"lr": 0.1, "params": [0]}]}


@pytest.mark.parametrize("key", ["state_dict", "model", "model_state_dict", "model_state", "net", "module", "params"])
def test_wrapped_state_dict(key):
    checkpoint = from_object({"epoch": 3, "optimizer": ADAM, key: weights("a", "b"), "best_accuracy": torch.tensor(0.9)})
    assert list(state_dict(checkpoint.layout, checkpoint.tensors)) == ["a", "b"]
    assert checkpoint.weights == {"a", "b"}
    assert set(checkpoint.tensors) == {"a", "b", "optimizer.state.0.exp_avg", "best_accuracy"}


def test_wrapper_in_a_wrapper():
    checkpoint = from_object({"model": {"state_dict": weights("a"), "config": {"x": torch.ones(1)}}})
    assert list(state_dict(checkpoint.layout, checkpoint.tensors)) == ["a"]
    assert checkpoint.weights == {"a"}


def test_moving_average_is_a_model_but_not_the_main_one():
    checkpoint = from_object({"model_ema": weights("a"), "model": weights("a")})
    assert checkpoint.weights == {"a", "model_ema.a"}
    assert list(state_dict(checkpoint.layout, checkpoint.tensors)) == ["a"]


def test_several_models_of_equal_standing():
    checkpoint = from_object(
        {"generator": weights("a"), "discriminator": weights("a", "b"), "optim_g": ADAM, "fixed_noise": torch.ones(2)}
    )
    assert list(state_dict(checkpoint.layout, checkpoint.tensors)) == [
        "generator.a",
        "discriminator.a",
        "discriminator.b",
    ]
    assert checkpoint.weights == {"generator.a", "discriminator.a", "discriminator.b"}


@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_copy_of_the_model_is_known_by_its_keys(prefix):
    checkpoint = from_object({"model": weights("a", "b"), "ema": {"decay": 0.9, "shadow": weights(f"{prefix}a", f"{prefix}b")}})
    assert checkpoint.weights == {"a", "b", f"ema.shadow.{prefix}a", f"ema.shadow.{prefix}b"}


@pytest.mark.parametrize("key", ["opt_state", "momentum", "exp_avg", "mu"])
@pytest.mark.parametrize("model", [{"a": torch.ones(2)}, [torch.ones(2)]])
def test_moments_have_the_keys_of_the_model_and_are_no_copy_of_it(key, model):
    moments = {"a": torch.ones(2)} if isinstance(model, dict) else [torch.ones(2)]
    checkpoint = from_object({"params": model, key: moments})
    assert len(checkpoint.weights) == 1
    assert not any(name.startswith(key) for name in checkpoint.weights)


@pytest.mark.parametrize("path", [("nowhere",), (0,), ("a", "b"), ("a", 0)])
def test_a_model_that_is_nowhere_has_nothing(path):
    """As a file may say that somebody has forged."""
    checkpoint = from_object(weights("a"))
    assert module_state(replace(checkpoint.layout, model=(path,)), checkpoint.tensors) == {}


def test_what_else_stands_beside_a_model_is_not_weights():
    moments = {"m": [torch.ones(2)], "v": [torch.ones(2)]}
    checkpoint = from_object({"net": weights("a"), "adam": moments, "replay": weights("obs"), "stats": {"x": weights("mean")}})
    assert checkpoint.weights == {"a"}
    assert {"adam.m.0", "replay.obs", "stats.x.mean"} <= set(checkpoint.tensors)


def test_nested_tree_of_weights():
    checkpoint = from_object({"dense": {"kernel": torch.ones(2), "norm": weights("scale")}, "layers": [weights("w")]})
    assert list(state_dict(checkpoint.layout, checkpoint.tensors)) == ["dense.kernel", "dense.norm.scale", "layers.0.w"]


@pytest.mark.parametrize("tree", [ADAM, {"optimizer": ADAM}, {"lr_scheduler": weights("a")}, {"rng_state": [torch.ones(1)]}])
def test_what_is_no_model_has_no_weights(tree):
    checkpoint = from_object(tree)
    assert checkpoint.weights == set()
    assert state_dict(checkpoint.layout, checkpoint.tensors) == {}


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_common_prefix_is_recorded_and_given_back(prefix):
    checkpoint = from_object(weights(f"{prefix}a", f"{prefix}b.c"))
    assert list(checkpoint.tensors) == ["a", "b.c"]
    assert list(state_dict(checkpoint.layout, checkpoint.tensors)) == [f"{prefix}a", f"{prefix}b.c"]
    assert list(module_state(checkpoint.layout, checkpoint.tensors)) == ["a", "b.c"]
    assert checkpoint.layout.prefix == prefix


def test_prefix_of_some_keys_only_stays():
    checkpoint = from_object(weights("module.a", "n_averaged"))
    assert list(checkpoint.tensors) == ["module.a", "n_averaged"]
    assert checkpoint.layout.prefix == ""


def test_names_that_would_clash_are_told_apart():
    checkpoint = from_object({"model": {"optimizer.w": torch.ones(1)}, "optimizer": weights("w"), None: [torch.ones(3)]})
    assert list(checkpoint.tensors) == ["optimizer.w", "optimizer.w~2", "None.0"]
    assert checkpoint.weights == {"optimizer.w"}
