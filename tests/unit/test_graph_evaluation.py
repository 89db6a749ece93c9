import numpy as np
import pytest
from make_models import GraphWriter, Type

from fastdp.errors import ModelError, UnsupportedModelError
from fastdp.model.readers.graph_def import BOOL, DOUBLE, FLOAT, INT32, MESSAGES, parse_graph
from fastdp.model.readers.graph_evaluation import evaluate

MATRIX = np.arange(6.0).reshape(2, 3)


def result_of(operation, *inputs, feeds=(), **attributes):
    """Evaluate one operation on constants."""
    writer = GraphWriter()
    names = [writer.constant(f"c{k}", value) for k, value in enumerate(inputs)]
    writer.node("out", operation, names, **attributes)
    graph = parse_graph(writer.graph.SerializeToString(), "model.pb")
    return evaluate(graph, ["out"], dict(feeds))["out"]


@pytest.mark.parametrize(
    ("operation", "inputs", "attributes", "expected"),
    [
        ("AddV2", (MATRIX, [1.0, 2.0, 3.0]), {}, MATRIX + np.array([1, 2, 3])),
        ("Mul", (MATRIX, 2.0), {}, 2 * MATRIX),
        ("Select", ([True, False], MATRIX, -MATRIX), {}, [[0, 1, 2], [-3, -4, -5]]),
        ("SelectV2", (True, 1.0, 2.0), {}, 1.0),
        ("MatMul", (MATRIX, MATRIX), {"transpose_b": True}, MATRIX @ MATRIX.T),
        ("MatMul", (MATRIX, MATRIX), {"transpose_a": True}, MATRIX.T @ MATRIX),
        ("BatchMatMulV2", (MATRIX[None], MATRIX[None]), {"adj_x": True}, (MATRIX.T @ MATRIX)[None]),
        ("BiasAdd", (MATRIX, [1.0, 2.0, 3.0]), {}, MATRIX + np.array([1, 2, 3])),
        ("AddN", (MATRIX, MATRIX, MATRIX), {}, 3 * MATRIX),
        ("Reshape", (MATRIX, [-1, 2]), {}, MATRIX.reshape(3, 2)),
        ("Reshape", (np.zeros((0, 16)), [-1, 0, 16]), {}, np.zeros((1, 0, 16))),
        ("Reshape", (np.zeros((0, 4)), [-1, 2]), {}, np.zeros((0, 2))),
        ("Slice", (MATRIX, [0, 1], [-1, 2]), {}, MATRIX[:, 1:]),
        ("StridedSlice", ([5, 6, 7], [1], [2], [1]), {"shrink_axis_mask": 1}, 6),
        ("StridedSlice", ([5, 6, 7], [1], [0], [1]), {"end_mask": 1}, [6, 7]),
        ("StridedSlice", (MATRIX, [0, 0], [0, 2], [1, 1]), {"begin_mask": 3, "end_mask": 1}, MATRIX[:, :2]),
        ("StridedSlice", ([5, 6], [0, 0], [0, 0], [1, 1]), {"new_axis_mask": 1, "end_mask": 2}, [[5, 6]]),
        ("GatherV2", (MATRIX, [1, 0, 1], 0), {}, MATRIX[[1, 0, 1]]),
        ("ConcatV2", (MATRIX, MATRIX, 1), {}, np.concatenate((MATRIX, MATRIX), axis=1)),
        ("Pack", (1, 2), {"axis": 0}, [1, 2]),
        ("Shape", (MATRIX,), {}, [2, 3]),
        ("Sum", (MATRIX, [1]), {}, [3, 12]),
        ("Sum", (MATRIX, 0), {"keep_dims": True}, [[3, 5, 7]]),
        ("Tile", (MATRIX, [2, 1]), {}, np.tile(MATRIX, (2, 1))),
        ("Fill", ([2, 2], 3.0), {}, np.full((2, 2), 3.0)),
        ("ExpandDims", (MATRIX, -1), {}, MATRIX[..., None]),
        ("Transpose", (MATRIX, [1, 0]), {}, MATRIX.T),
        ("Cast", ([1.9, -1.9],), {"DstT": Type(INT32)}, [1, -1]),
        ("Cast", ([True, False],), {"DstT": Type(DOUBLE)}, [1.0, 0.0]),
        ("GeluCustom", ([1.0],), {}, [0.8411919906082768]),
    ],
)  # fmt: skip
def test_operations(operation, inputs, attributes, expected):
    value = result_of(operation, *inputs, **attributes)
    np.testing.assert_allclose(value, expected, rtol=1e-15)
    assert value.shape == np.shape(expected)


def test_real_numbers_are_float64_even_in_float32_graphs():
    writer = GraphWriter()
    x = writer.constant("x", 0.1, "float32")
    writer.node("y", "Cast", [x], DstT=Type(FLOAT))
    writer.node("z", "Tanh", ["y"])
    graph = parse_graph(writer.graph.SerializeToString(), "model.pb")
    assert evaluate(graph, ["z"], {})["z"] == np.tanh(np.float64(np.float32(0.1)))


def test_fed_nodes_are_not_computed():
    writer = GraphWriter()
    writer.node("custom", "ProdEnvMatA", ["nowhere"])
    writer.node("out", "Neg", ["custom"])
    graph = parse_graph(writer.graph.SerializeToString(), "model.pb")
    np.testing.assert_array_equal(evaluate(graph, ["out"], {"custom": np.ones(2)})["out"], [-1.0, -1.0])


def test_an_unknown_operation_is_named():
    with pytest.raises(UnsupportedModelError, match=r"'MyOwnOp' \(node 'out'\)"):
        result_of("MyOwnOp", 1.0)


@pytest.mark.parametrize(
    ("operation", "inputs"),
    [
        ("Fill", ([1 << 20, 1 << 20], 1.0)),
        ("Tile", (np.ones(1000), [1 << 30])),
        ("MatMul", (np.ones((20000, 1)), np.ones((1, 20000)))),
        ("Mul", (np.ones((20000, 1)), np.ones((1, 20000)))),
        ("GatherV2", (np.ones((1, 100000)), np.zeros(10000, dtype=int), 0)),
    ],
)
def test_results_that_are_too_large_are_refused_before_they_are_made(operation, inputs):
    with pytest.raises(ModelError, match="too many"):
        result_of(operation, *inputs)


def test_a_chain_that_doubles_for_ever_ends():
    writer = GraphWriter()
    name = writer.constant("x", np.ones(1000))
    axis = writer.constant("axis", 0)
    for _ in range(40):
        name = writer.node("concat", "ConcatV2", [name, name, axis])
    graph = parse_graph(writer.graph.SerializeToString(), "model.pb")
    with pytest.raises(ModelError, match="too many"):
        evaluate(graph, [name], {})


@pytest.mark.parametrize(
    ("operation", "inputs", "attributes"),
    [
        ("MatMul", (MATRIX, MATRIX), {}),
        ("MatMul", (MATRIX,), {}),
        ("Reshape", (MATRIX, [4, 5]), {}),
        ("Reshape", (MATRIX, [-1, 0]), {}),
        ("GatherV2", (MATRIX, [2], 0), {}),
        ("GatherV2", (MATRIX, [-1], 0), {}),
        ("Slice", (MATRIX, [0], [1]), {}),
        ("Cast", (MATRIX,), {"DstT": Type(99)}),
        ("Cast", (MATRIX,), {}),
        ("Sum", (MATRIX, 5), {}),
        ("Add", (MATRIX, np.ones(7)), {}),
        ("Tanh", (MATRIX, MATRIX, MATRIX, MATRIX), {}),
    ],
)
def test_nonsense_is_a_model_error(operation, inputs, attributes):
    with pytest.raises(ModelError, match=r"model\.pb: damaged: the node 'out'"):
        result_of(operation, *inputs, **attributes)


def test_loops_are_found():
    graph = MESSAGES["GraphDef"]()
    graph.node.add(name="a", op="Neg", input=["b"])
    graph.node.add(name="b", op="Neg", input=["a"])
    with pytest.raises(ModelError, match="has a loop"):
        evaluate(parse_graph(graph.SerializeToString(), "model.pb"), ["a"], {})


def test_second_outputs_are_not_known():
    writer = GraphWriter()
    writer.constant("a", 1.0)
    writer.node("out", "Neg", ["a:1"])
    with pytest.raises(UnsupportedModelError, match="takes output 1 of 'a'"):
        evaluate(parse_graph(writer.graph.SerializeToString(), "model.pb"), ["out"], {})


def test_boolean_constants():
    np.testing.assert_array_equal(result_of("LogicalNot", [True, False]), [False, True])
    assert BOOL == 10


def test_many_large_results_at_a_time_are_refused():
    writer = GraphWriter()
    extents = writer.constant("extents", np.array([6000, 6000]))
    one = writer.constant("one", 1.0)
    parts = [writer.node("fill", "Fill", [extents, one]) for _ in range(5)]
    total = writer.node("sum", "AddN", parts)
    graph = parse_graph(writer.graph.SerializeToString(), "model.pb")
    with pytest.raises(ModelError, match="too many"):
        evaluate(graph, [total], {})
