"""Several models in one PyTorch checkpoint are told apart by name, and nothing is chosen silently."""

from pathlib import Path

import numpy as np
import pytest

from fastdp.errors import ModelError
from fastdp.model.readers.registry import read_model
from fastdp.model.readers.torch_archive import _checkpoint_parts, _open

PATH = Path("several.pt")


def checkpoint(*heads):
    parameters = {"model_dict": {head: {"type_map": [head]} for head in heads}}
    state = {"_extra_state": {"model_params": parameters}}
    for number, head in enumerate(heads):
        state[f"model.{head}.atomic_model.out_bias"] = np.full((1, 1, 1), float(number))
    return {"model": state}


def test_a_head_is_chosen_by_its_name():
    parameters, tensors = _checkpoint_parts(PATH, checkpoint("water", "copper"), "copper")
    assert parameters == {"type_map": ["copper"]}
    assert list(tensors) == ["out_bias"]
    assert tensors["out_bias"].item() == 1.0


def test_names_that_begin_alike_are_not_confused():
    _, tensors = _checkpoint_parts(PATH, checkpoint("water", "water_2"), "water")
    assert tensors["out_bias"].item() == 0.0


@pytest.mark.parametrize(("head", "said"), [(None, "say which"), ("iron", "there is no 'iron'")])
def test_a_head_must_be_named(head, said):
    with pytest.raises(ModelError, match=f"several models, {said}.*water, copper"):
        _checkpoint_parts(PATH, checkpoint("water", "copper"), head)


@pytest.mark.parametrize("model", ["own/ternary_twoside_pt.pt", "own/ternary_twoside_pt.pth", "own/ser.pb"])
def test_a_file_with_one_model_takes_no_head(shared, model):
    with pytest.raises(ModelError, match="leave out the head 'water'"):
        read_model(shared / "models" / model, head="water")


def test_the_head_of_a_real_checkpoint(shared):
    """The same state under another name is found there."""
    content = _open(shared / "models/own/ternary_twoside_pt.pt").content
    parameters, tensors = _checkpoint_parts(PATH, content, None)
    state = {
        key.replace("model.Default.", "model.carbide."): value for key, value in content["model"].items()
    }
    state["_extra_state"] = {"model_params": {"model_dict": {"carbide": parameters}}}
    _, found = _checkpoint_parts(PATH, {"model": state}, "carbide")
    assert found.keys() == tensors.keys()
    assert all(np.array_equal(found[name], tensors[name]) for name in tensors)
