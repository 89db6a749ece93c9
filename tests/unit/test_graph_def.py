import numpy as np
import pytest
from make_models import GraphWriter, Type

from fastdp.errors import ModelError
from fastdp.model.readers.graph_def import DOUBLE, FLOAT, HALF, INT32, MESSAGES, STRING, parse_graph


def tensor(dtype, shape, **values):
    message = MESSAGES["Tensor"](dtype=dtype, **values)
    for extent in shape:
        message.tensor_shape.dim.add(size=extent)
    return message


def graph_with(tensor_message):
    writer = GraphWriter()
    writer.node("c", "Const", value=tensor_message)
    return parse_graph(writer.graph.SerializeToString(), "model.pb")


def test_node_names_inputs_and_attributes():
    writer = GraphWriter()
    writer.node("a", "Placeholder", dtype=Type(DOUBLE))
    writer.node("b", "MatMul", ["a", "a:1", "^control"], transpose_a=True, rcut=6.5, sel=[3, 4], n=7)
    graph = parse_graph(writer.graph.SerializeToString(), "model.pb")
    node = graph["b"]
    assert node.operation == "MatMul"
    assert node.inputs == (("a", 0), ("a", 1))
    assert node.attributes["transpose_a"].b is True
    assert node.attributes["rcut"].f == 6.5
    assert list(node.attributes["sel"].list.i) == [3, 4]
    assert [user.name for user in graph.consumers["a"]] == ["b"]


def test_content_in_bytes():
    values = np.arange(6.0).reshape(2, 3)
    graph = graph_with(tensor(DOUBLE, (2, 3), tensor_content=values.tobytes()))
    np.testing.assert_array_equal(graph.constant("c"), values)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (tensor(FLOAT, (2, 2), float_val=[1.5, 2.5, 3.5, 4.5]), [[1.5, 2.5], [3.5, 4.5]]),
        (tensor(INT32, (3,), int_val=[-4, 5, 6]), [-4, 5, 6]),
        (tensor(DOUBLE, (4,), double_val=[1.0, 2.0]), [1.0, 2.0, 2.0, 2.0]),
        (tensor(DOUBLE, (2,)), [0.0, 0.0]),
        (tensor(DOUBLE, (), double_val=[7.0]), 7.0),
        (tensor(DOUBLE, (0, 5)), np.zeros((0, 5))),
        (tensor(HALF, (2,), half_val=[0x3C00, 0xC000]), [1.0, -2.0]),
    ],
)
def test_values_in_lists_repeat_the_last_one(message, expected):
    np.testing.assert_array_equal(graph_with(message).constant("c"), expected)


def test_strings():
    graph = graph_with(tensor(STRING, (), string_val=[b"O H"]))
    assert graph.text("c") == "O H"
    with pytest.raises(ModelError, match="'c' does not hold text"):
        graph_with(tensor(STRING, (), string_val=[b"\xff"])).text("c")


@pytest.mark.parametrize(
    "message",
    [
        tensor(DOUBLE, (3,), tensor_content=bytes(16)),
        tensor(DOUBLE, (2,), tensor_content=bytes(17)),
        tensor(DOUBLE, (1,), double_val=[1.0, 2.0]),
        tensor(DOUBLE, (-1,), double_val=[1.0]),
        tensor(DOUBLE, (1 << 62, 1 << 62), double_val=[1.0]),
        tensor(FLOAT, (1 << 40,), float_val=[1.0]),
        tensor(STRING, (1 << 40,), string_val=[b"O"]),
        tensor(DOUBLE, (1,) * 9, double_val=[1.0]),
        tensor(77, (1,)),
    ],
    ids=lambda message: str(message.dtype) + str([dim.size for dim in message.tensor_shape.dim]),
)
def test_content_that_does_not_fit_its_shape_is_refused_without_allocating(message):
    with pytest.raises(ModelError, match=r"model\.pb: constant 'c'"):
        graph_with(message).constant("c")


def test_a_missing_node_is_named():
    graph = graph_with(tensor(DOUBLE, (), double_val=[1.0]))
    with pytest.raises(ModelError, match=r"model\.pb: the node 'descrpt_attr/t_avg' is missing"):
        graph.constant("descrpt_attr/t_avg")


def test_constants_are_reached_through_copies_but_not_through_circles():
    writer = GraphWriter()
    constant = writer.constant("x", np.array([1.0, 2.0]))
    writer.node("x/read", "Identity", [constant])
    writer.node("circle", "Identity", ["circle"])
    writer.node("sum", "Add", [constant, constant])
    graph = parse_graph(writer.graph.SerializeToString(), "model.pb")
    np.testing.assert_array_equal(graph.numbers("x/read"), [1.0, 2.0])
    with pytest.raises(ModelError, match="its own input"):
        graph.constant("circle")
    with pytest.raises(ModelError, match="should be a constant"):
        graph.constant("sum")


def test_numbers_must_be_finite():
    with pytest.raises(ModelError, match="not finite"):
        graph_with(tensor(DOUBLE, (2,), double_val=[1.0, np.nan])).numbers("c")


def test_two_nodes_of_the_same_name_are_refused():
    graph = MESSAGES["GraphDef"]()
    graph.node.add(name="a", op="Const")
    graph.node.add(name="a", op="Const")
    with pytest.raises(ModelError, match="two nodes are called 'a'"):
        parse_graph(graph.SerializeToString(), "model.pb")


def test_bytes_that_are_no_graph():
    with pytest.raises(ModelError, match=r"model\.pb: cannot be parsed"):
        parse_graph(b"\x0a\x10truncated", "model.pb")
    with pytest.raises(ModelError, match=r"model\.pb: the graph is empty"):
        parse_graph(b"", "model.pb")
