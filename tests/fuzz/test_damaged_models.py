"""Whatever happens to a model file, reading it ends in a model or in a `ModelError`, and soon."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from make_models import MODELS, ModelSpec, ModelWriter

from fastdp.errors import ModelError
from fastdp.model.description import DeepPotential
from fastdp.model.readers.registry import read_model

SMALL = ModelSpec(
    type_names=("Cu",), selection=(3,), embedding=(2, 2), axis_neurons=1, fitting=(3, 3), generation="3.2"
)
CONTENT = ModelWriter(SMALL).graph_def().SerializeToString()
OLD_CONTENT = ModelWriter(MODELS["generation_0.12"]).graph_def().SerializeToString()

FUZZ = settings(
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture
def read(tmp_path):
    def read_content(content: bytes) -> DeepPotential | None:
        path = tmp_path / "model.pb"
        path.write_bytes(content)
        try:
            return read_model(path)
        except ModelError as error:
            message = str(error)
        assert str(path) in message
        return None

    return read_content


def test_the_undamaged_file_is_read(read):
    assert read(CONTENT) is not None
    assert read(OLD_CONTENT) is not None


def test_no_truncated_file_is_read(read):
    """The energy's node comes last, so that every truncation takes something away that is needed."""
    step = len(CONTENT) // 200
    for length in (*range(0, len(CONTENT), step), *range(1, 40), *range(len(CONTENT) - 40, len(CONTENT))):
        assert read(CONTENT[:length]) is None, length


@given(st.integers(0, len(CONTENT) - 1), st.integers(0, 7))
@settings(FUZZ, max_examples=400)
def test_flipped_bits(read, position, bit):
    damaged = bytearray(CONTENT)
    damaged[position] ^= 1 << bit
    read(bytes(damaged))


@given(st.integers(0, len(OLD_CONTENT) - 1), st.binary(min_size=1, max_size=12))
@settings(FUZZ, max_examples=200)
def test_overwritten_bytes(read, position, replacement):
    read(OLD_CONTENT[:position] + replacement + OLD_CONTENT[position + len(replacement) :])


@given(st.integers(0, len(CONTENT) - 1), st.integers(1, 64), st.integers(0, len(CONTENT)))
@settings(FUZZ, max_examples=200)
def test_moved_pieces(read, start, length, target):
    piece, rest = CONTENT[start : start + length], CONTENT[:start] + CONTENT[start + length :]
    read(rest[:target] + piece + rest[target:])


@given(st.binary(max_size=300))
@settings(FUZZ, max_examples=200)
def test_random_bytes_are_no_model(read, content):
    assert read(content) is None
    assert read(b"\x0a\x20\x0a\x05" + content) is None


@given(st.data())
@settings(FUZZ, max_examples=200)
def test_graphs_that_are_well_formed_but_wrong(read, data):
    """Change one node of the message itself: its inputs, its operation, one of its attributes."""
    graph = ModelWriter(SMALL).graph_def()
    names = [node.name for node in graph.node]
    node = data.draw(st.sampled_from(list(graph.node)))
    match data.draw(st.sampled_from(["inputs", "operation", "attribute", "shape"])):
        case "inputs":
            node.input[:] = data.draw(st.lists(st.sampled_from([*names, "", ":", "^", "x:-1"]), max_size=4))
        case "operation":
            node.op = data.draw(st.sampled_from([*{other.op for other in graph.node}, "Custom", ""]))
        case "attribute" if node.attr:
            entry = data.draw(st.sampled_from(list(node.attr)))
            entry.value.i = data.draw(st.integers(-(2**63), 2**63 - 1))
            entry.value.type = data.draw(st.integers(-3, 120))
            entry.value.list.i.extend(data.draw(st.lists(st.integers(-5, 2**40), max_size=3)))
        case _:
            for entry in node.attr:
                for dim in entry.value.tensor.tensor_shape.dim:
                    dim.size = data.draw(st.integers(-2, 2**62))
    read(graph.SerializeToString())
