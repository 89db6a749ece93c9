import hashlib

import numpy as np
import pytest
from graph_editing import attribute_of, node_of, numbers_of, remove, set_constant, write_edited
from make_models import GENERATIONS, MODELS, GraphWriter, ModelWriter

from fastdp.errors import ModelError, UnsupportedModelError
from fastdp.model.readers.registry import read_model


@pytest.mark.parametrize("name", MODELS)
def test_every_kind_of_model_is_read(model_file, name):
    """`read_model` compares the energies with the graph's own, so the numbers are right if it returns."""
    spec = MODELS[name]
    path = model_file(name)
    description = read_model(path)
    descriptor, fitting = description.descriptor, description.fitting
    era = GENERATIONS[spec.generation]
    assert description.type_names == (spec.type_names if era.type_map else ("0", "1"))
    np.testing.assert_array_equal(descriptor.selection, spec.selection)
    assert descriptor.normaliser == (spec.trained_selection or sum(spec.selection))
    assert descriptor.axis_neurons == spec.axis_neurons
    assert descriptor.n_channels == spec.embedding[-1]
    assert descriptor.type_one_side == spec.one_sided
    mean, spread = ModelWriter(spec).statistics()
    first = np.minimum(np.cumsum((0, *spec.selection[:-1])), sum(spec.selection) - 1)
    np.testing.assert_array_equal(descriptor.mean, mean[:, first])
    np.testing.assert_array_equal(descriptor.spread, spread[:, first])
    for alpha in range(spec.n_types):
        for beta in range(spec.n_types):
            excluded = {(alpha, beta), (beta, alpha)} & set(spec.exclude_types)
            assert (descriptor.embedding[alpha][beta] is None) == bool(excluded)
    networks = [network for row in descriptor.embedding for network in row if network is not None]
    for network in networks:
        assert tuple(layer.n_out for layer in network.layers) == spec.embedding
        assert {layer.activation for layer in network.layers} <= names_of(spec.embedding_activation)
    for network in fitting.networks:
        assert tuple(layer.n_out for layer in network.layers) == (*spec.fitting, 1)
        assert {layer.activation for layer in network.layers[:-1]} <= names_of(spec.fitting_activation)
        assert network.layers[-1].activation == "linear"
    np.testing.assert_array_equal(fitting.subtract_vacuum, spec.vacuum or (False,) * spec.n_types)
    assert description.precision == spec.precision
    assert description.shortest_trained_distance == (spec.shortest_distance if era.training_input else None)
    assert description.origin.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert description.origin.version == (era.version or "0.x")


def names_of(activation):
    """In float32 the two coefficients of gelu are the same number, and either name is right."""
    if activation == "gelu_tf":
        return {"gelu", "gelu_tf"}
    return {activation.replace("silut:10", "silut:10.0")}


def test_radii_are_rounded_as_tensorflow_rounds_them(model_file):
    switch = read_model(model_file("two_sided")).descriptor.switch
    assert switch.cutoff == float(np.float32(4.2))
    assert switch.inner == float(np.float32(1.1))
    assert switch.width == float(np.float32(4.2) - np.float32(1.1)) != switch.cutoff - switch.inner


def test_shortcuts_follow_the_trainer(model_file):
    description = read_model(model_file("timesteps"))  # embedding 1-1-2-2-5
    layers = description.descriptor.embedding[0][0].layers
    assert [layer.shortcut for layer in layers] == ["identity", "doubling", "identity", "none"]
    assert [layer.timestep is None for layer in layers] == [False, False, False, True]
    description = read_model(model_file("descriptor_as_wide_as_layer"))  # fitting 64-64-64-128
    layers = description.fitting.networks[0].layers
    assert [layer.shortcut for layer in layers] == ["none", "identity", "none", "none"]


def test_output_scale_and_shift_are_folded_in(model_file):
    scaled = read_model(model_file("output_shift"))
    # Bias −2, −3; scale 0.7, 1.9; shift 0.3, −4.
    np.testing.assert_allclose(scaled.fitting.bias, [-2.0 * 0.7 + 0.3, -3.0 * 1.9 - 4.0], rtol=1e-15)


def test_inferred_facts_are_noted(model_file):
    notes = " ".join(read_model(model_file("generation_0.12")).origin.notes)
    assert "0.12" in notes
    assert "names no atom types" in notes
    assert not read_model(model_file("two_sided")).origin.notes


def test_the_fingerprint_is_that_of_the_numbers(model_file, tmp_path):
    original = read_model(model_file("two_sided"))

    def unimportant(graph):
        set_constant(graph, "train_attr/min_nbor_dist", 0.85)
        graph.node.sort(key=lambda node: node.name)

    again = read_model(write_edited("two_sided", unimportant, tmp_path / "again.pb"))
    assert again.origin.sha256 != original.origin.sha256
    assert again.fingerprint == original.fingerprint
    assert read_model(model_file("narrow_selection")).fingerprint != original.fingerprint


def double(graph, name):
    set_constant(graph, name, 2.0 * numbers_of(graph, name))


def add_energy(graph):
    node = node_of(graph, "o_energy")
    node.name = "sum"
    graph.node.add(name="o_energy", op="Mul", input=["sum", "sum"])


def square_descriptor(graph):
    """Put an operation on the way that is known, but that no DeePMD-kit has there."""
    node = node_of(graph, "filter_type_0/truediv")
    node.name = "filter_type_0/scaled"
    graph.node.add(name="filter_type_0/truediv", op="Square", input=["filter_type_0/scaled"])


@pytest.mark.parametrize(
    "edit",
    [
        lambda graph: double(graph, "filter_type_0/truediv/y"),
        lambda graph: set_constant(graph, "descrpt_attr/original_sel", np.array([50, 50])),
        square_descriptor,
        add_energy,
    ],
    ids=["normaliser", "original_sel", "descriptor", "total"],
)
def test_a_graph_that_computes_something_else_is_refused(tmp_path, edit):
    """None of these is looked for; the comparison with the graph's own energies finds them."""
    with pytest.raises(UnsupportedModelError, match="has a part that fastdp does not know"):
        read_model(write_edited("two_sided", edit, tmp_path / "model.pb"))


def test_an_excluded_pair_that_is_not_masked_is_refused(tmp_path):
    """The training input excludes H–H, but the graph does not."""

    def exclude(graph):
        script = '{"model": {"descriptor": {"exclude_types": [[1, 1]]}}}'
        set_constant(graph, "train_attr/training_script", script)

    with pytest.raises(UnsupportedModelError, match="part that fastdp does not know"):
        read_model(write_edited("one_sided", exclude, tmp_path / "model.pb"))


def rename_operation(name, operation):
    def edit(graph):
        node_of(graph, name).op = operation

    return edit


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (rename_operation("filter_type_0/Tanh", "Exp"), r"activation function .* 'filter_type_0/BiasAdd'"),
        (rename_operation("filter_type_0/Tanh", "MyTanh"), "'MyTanh'"),
        (rename_operation("concat", "MyConcat"), "'MyConcat'"),
    ],
    ids=["other function", "custom activation", "custom operation"],
)
def test_unknown_operations_are_named(tmp_path, edit, message):
    with pytest.raises(UnsupportedModelError, match=message):
        read_model(write_edited("two_sided", edit, tmp_path / "model.pb"))


def change_statistics(which, row, column):
    def edit(graph):
        name = f"descrpt_attr/t_{which}"
        values = numbers_of(graph, name)
        values[row, column] += 0.5
        set_constant(graph, name, values)

    return edit


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (change_statistics("avg", 0, 4), "differ between neighbours of the same type"),
        (change_statistics("std", 1, 4 * 30), "differ between neighbours of the same type"),
        (change_statistics("avg", 0, np.arange(1, 288, 4)), "orientation"),
        (change_statistics("std", 0, np.arange(2, 288, 4)), "orientation"),
    ],
)
def test_statistics_that_a_sum_over_neighbours_cannot_use_are_refused(tmp_path, edit, message):
    with pytest.raises(UnsupportedModelError, match=message):
        read_model(write_edited("two_sided", edit, tmp_path / "model.pb"))


def constant(name, value):
    return lambda graph: set_constant(graph, name, value)


def extra_node(name, operation="Const", **attributes):
    def edit(graph):
        writer = GraphWriter()
        writer.node(name, operation, **attributes)
        graph.node.extend(writer.graph.node)

    return edit


def radial_neighbours(graph):
    attribute_of(graph, "ProdEnvMatA", "sel_r").list.i[0] = 5


@pytest.mark.parametrize(
    ("edit", "part"),
    [
        (extra_node("descrpt_attr_qm/rcut"), "pairwise_dprc"),
        (extra_node("modifier_attr/ewald_beta"), "DPLR"),
        (constant("model_attr/model_type", "wfc"), "'wfc'"),
        (extra_node("attention_layer_0/c_query/matrix"), "attention"),
        (extra_node("DescrptSeAMask", "DescrptSeAMask"), "se_a_mask"),
        (extra_node("x", "QuantizeNvnmd"), "NVNMD"),
        (extra_node("share_a_type_0/matrix"), "layer_name"),
        (radial_neighbours, "sel_r"),
    ],
)  # fmt: skip
def test_parts_that_are_not_evaluated_are_named(tmp_path, edit, part):
    with pytest.raises(UnsupportedModelError, match=part) as caught:
        read_model(write_edited("two_sided", edit, tmp_path / "model.pb"))
    assert str(tmp_path / "model.pb") in str(caught.value)


def attribute(name, key, value):
    def edit(graph):
        attribute_of(graph, name, key).f = value

    return edit


def spins(n, lengths, norms):
    def edit(graph):
        set_constant(graph, "spin_attr/ntypes_spin", np.array(n, dtype=np.int32))
        set_constant(graph, "spin_attr/virtual_len", np.array(lengths))
        set_constant(graph, "spin_attr/spin_norm", np.array(norms))

    return edit


def drop_attribute(graph):
    node = node_of(graph, "ProdEnvMatA")
    kept = [entry for entry in node.attr if entry.key != "sel_a"]
    del node.attr[:]
    node.attr.extend(kept)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (constant("fitting_attr/dfparam", 2), "t_fparam_avg"),
        (constant("fitting_attr/daparam", -1), "daparam is -1"),
        (constant("model_attr/model_type", "dipole"), "no dipole output"),
        (spins(2, [0.4, 0.4], [1.0, 1.0]), "2 magnetic types of 2 with partners"),
        (spins(1, [0.4, 0.4], [1.0]), "2 lengths and 1 norms"),
        (spins(1, [0.4], [0.0]), "spin_norm"),
        (constant("spin_attr/ntypes_spin", 1), "virtual_len"),
        (rename_operation("ProdEnvMatA", "ProdEnvMatR"), "sel"),
        (rename_operation("ProdEnvMatA", "Descrpt"), "axis_rule"),
        (constant("layer_0_type_0/matrix", np.ones((64, 13))), "'layer_0_type_0/bias' has 12 numbers"),
        (constant("layer_1_type_0/matrix", np.ones((13, 12))), "input is 12 wide"),
        (constant("layer_0_type_0/matrix", np.ones((65, 12))), "not a multiple"),
        (constant("filter_type_0/bias_2_1", np.ones(9)), "'filter_type_0/bias_2_1' has 9 numbers"),
        (constant("filter_type_0/bias_2_1", np.full(8, np.nan)), "not finite"),
        (constant("filter_type_0/bias_2_1", np.ones(8, dtype=int)), "should hold real numbers"),
        (constant("model_attr/model_attr/t_out_std", np.full((1, 2, 1), 1e308)), "or tensors .* not finite"),
        (constant("final_layer_type_1/matrix", np.ones((12, 2))), "'final_layer_type_1/bias' has 1"),
        (constant("descrpt_attr/t_avg", np.zeros((2, 4))), "has 8 numbers"),
        (constant("descrpt_attr/t_std", np.zeros((2, 288))), "not positive"),
        (constant("descrpt_attr/original_sel", np.array([0, 0])), "adds up to 0"),
        (constant("model_attr/tmap", "O"), "2 atom types are called O"),
        (constant("model_attr/tmap", "O O"), "2 atom types are called O, O"),
        (constant("fitting_attr/t_bias_atom_e", np.zeros(3)), "3 numbers for 2 types"),
        (constant("train_attr/training_script", "{"), "not JSON"),
        (constant("train_attr/training_script", "[" * 100_000), "not JSON"),
        (attribute("ProdEnvMatA", "rcut_r", 0.5), "rcut is 0.5"),
        (attribute("ProdEnvMatA", "rcut_r", float("nan")), "rcut is nan"),
        (attribute("ProdEnvMatA", "rcut_r_smth", -1.0), "rcut_smth -1.0"),
        (drop_attribute, "no attribute 'sel_a'"),
        (lambda graph: attribute_of(graph, "ProdEnvMatA", "sel_a").list.i.append(-1), "sel is"),
        (lambda graph: remove(graph, "o_energy"), "no energy output"),
        (lambda graph: remove(graph, "o_atom_energy"), "no energy output"),
        (lambda graph: node_of(graph, "ProdEnvMatA").input.pop(), "7 inputs"),
    ],
)  # fmt: skip
def test_parts_that_do_not_fit_together_are_named(tmp_path, edit, message):
    with pytest.raises(ModelError, match=message) as caught:
        read_model(write_edited("two_sided", edit, tmp_path / "model.pb"))
    assert not isinstance(caught.value, UnsupportedModelError)


def test_excluded_pairs_in_the_training_input_are_checked(tmp_path):
    for pairs in ("[[0]]", "[[0, 2]]", "[0]", '[["O", "H"]]'):
        script = f'{{"model": {{"descriptor": {{"exclude_types": {pairs}}}}}}}'
        edit = constant("train_attr/training_script", script)
        with pytest.raises(ModelError, match="exclude_types holds"):
            read_model(write_edited("one_sided", edit, tmp_path / "model.pb"))


def test_a_model_without_any_node_of_its_path_is_refused(tmp_path):
    names = [node.name for node in ModelWriter(MODELS["one_type"]).graph_def().node]
    needed = read_needed(names)
    for name in needed:
        path = write_edited("one_type", lambda graph, name=name: remove(graph, name), tmp_path / "model.pb")
        with pytest.raises(ModelError):
            read_model(path)


def read_needed(names):
    """Every third node, apart from those that only describe."""
    describing = ("descrpt_attr/rcut", "descrpt_attr/ntypes", "descrpt_attr/sel", "descrpt_attr/original_sel")
    skipped = ("model_attr/t", "model_attr/model_", "model_type", "fitting_attr/d", "train_attr", "t_")
    return [name for name in names if not name.startswith((*skipped, *describing))][::3]
