"""Reading models that hold tables of pairs: what is refused, PyTorch's form, damage, what is shown."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from table_models import ANSWERS, FOLDER, evaluate, structure_of

from fastdp.errors import ModelError, UnsupportedModelError
from fastdp.model.readers.graph_def import MESSAGES
from fastdp.model.readers.pytorch_state import model_tree
from fastdp.model.readers.registry import read_model
from fastdp.model.readers.serialised import SerialisedModel, describe_serialised
from fastdp.model.summary import summarise
from fastdp.potential.reference import ReferencePotential


def test_info_shows_tables() -> None:
    lines = dict(summarise(read_model(FOLDER / "srtab.pb")))
    assert lines["pair table, at short range"] == "0.1 to 4 Å in 196 intervals"
    assert "from 1 to 0.8 Å" in lines["switch to the table"]
    assert "2 of them" not in lines
    sums = dict(summarise(read_model(FOLDER / "linear.dp")))
    assert sums["pair tables, added"].startswith("0.1 to 4 Å in 196 intervals, 0.2 to 5 Å")


def test_info_says_what_tensorflow_makes_of_types() -> None:
    """Upstream takes all neighbours for the first type (seen in the numbers of `linear_pb` above)."""
    description = read_model(FOLDER / "linear.pb")
    (table,) = description.pair_part.tables
    assert np.array_equal(table.coefficients[:, 0], table.coefficients[:, 1])
    assert not np.array_equal(table.coefficients[0], table.coefficients[1])
    assert any(
        "for one of the first type" in value for label, value in summarise(description) if label == "note"
    )
    assert not any("first type" in value for _, value in summarise(read_model(FOLDER / "linear.dp")))


def altered(tmp_path: Path, name: str, change) -> Path:
    """Return a copy of a .dp file whose JSON was changed."""
    path = tmp_path / name
    path.write_bytes((FOLDER / name).read_bytes())
    with h5py.File(path, "r+") as file:
        content = json.loads(file.attrs["json"])
        change(content["model"])
        file.attrs["json"] = json.dumps(content)
    return path


@pytest.mark.parametrize(
    ("name", "change", "kind", "message"),
    [
        ("zbl.dp", lambda m: m.update(sw_rmax=0.5), ModelError, "sw_rmin = 0.8, sw_rmax = 0.5"),
        ("zbl.dp", lambda m: m.pop("sw_rmin"), ModelError, "sw_rmin is None"),
        ("zbl.dp", lambda m: m["models"].pop(), ModelError, "a zbl model has one table, and this has 0"),
        ("zbl.dp", lambda m: m["models"].pop(0), UnsupportedModelError, "a combination of 0 networks"),
        ("zbl.dp", lambda m: m["models"][1]["tab"].update(nspline=195), ModelError, "'tab_data' has"),
        ("zbl.dp", lambda m: m["models"][1]["tab"].update(hh=0.0), ModelError, "a table of 196 intervals"),
        ("zbl.dp", lambda m: m["models"][1].update(type_map=["O", "C"]), ModelError, "no energies for H"),
        ("zbl.dp", lambda m: m["models"][0].update(type_map=["H", "O"]), UnsupportedModelError, "atom types"),
        ("zbl.dp", lambda m: m.update(pair_exclude_types=[[0, 1]]), UnsupportedModelError, "pair_exclude"),
        ("zbl.dp", lambda m: m.update(models=7), ModelError, "'models' is no list"),
        ("linear.dp", lambda m: m.update(weights=[1.0, 2.0]), ModelError, r"weights is \[1.0, 2.0\]"),
        ("linear.dp", lambda m: m.update(weights="most"), ModelError, "weights is 'most'"),
        (
            "linear.dp",
            lambda m: m["models"].append(m["models"][0]),
            UnsupportedModelError,
            r"a combination of 2 networks, .* \[committee\]",
        ),
        ("linear.dp", lambda m: m.update(type="mixture"), UnsupportedModelError, "a model of type 'mixture'"),
        (
            "linear.dp",
            lambda m: m["models"][0].update(type="zbl"),
            UnsupportedModelError,
            "a part of type 'zbl'",
        ),
    ],
)
def test_damaged_and_unknown_combinations_are_refused(name, change, kind, message, tmp_path) -> None:
    path = altered(tmp_path, name, change)
    with pytest.raises(kind, match=message) as caught:
        read_model(path)
    assert str(path) in str(caught.value)


def altered_graph(tmp_path: Path, change) -> Path:
    """Return a copy of `linear.pb` with a changed graph."""
    graph = MESSAGES["GraphDef"].FromString((FOLDER / "linear.pb").read_bytes())
    change(graph, {node.name: node for node in graph.node})
    path = tmp_path / "model.pb"
    path.write_bytes(graph.SerializeToString())
    return path


def two_networks(graph, nodes) -> None:
    nodes["o_atom_energy_model1"].input[0] = "o_atom_energy_model0"


def squared(graph, nodes) -> None:
    node = next(node for node in graph.node if node.op == "Mul" and "stack_3" in node.input)
    node.input[0] = node.input[1] = "stack_3"


def table_is_squared(graph, nodes) -> None:
    nodes["o_atom_energy_model1"].input[0] = "twice"
    graph.node.add(name="twice", op="Square", input=["PairTab"])


def without_cutoff(graph, nodes) -> None:
    attributes = nodes["ProdEnvMatAMix"].attr
    attributes.remove(next(entry for entry in attributes if entry.key == "rcut_r"))


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        (two_networks, UnsupportedModelError, "a linear combination of 2 networks"),
        (squared, UnsupportedModelError, "more than constant weights"),
        (table_is_squared, UnsupportedModelError, "a table of pairs that something is done to"),
        (without_cutoff, ModelError, "the table of part 1 has no cutoff"),
    ],
)
def test_other_combinations_in_graphs_are_refused(change, kind, message, tmp_path) -> None:
    path = altered_graph(tmp_path, change)
    with pytest.raises(kind, match=message) as caught:
        read_model(path)
    assert str(path) in str(caught.value)


def test_weights_by_name(tmp_path) -> None:
    whole = read_model(altered(tmp_path, "linear.dp", lambda m: m.update(weights="sum")))
    structure = structure_of(ANSWERS["bonds"])
    energies = {}
    for weights in ("mean", [1.0 / 3.0] * 3):
        path = altered(tmp_path, "linear.dp", lambda m, w=weights: m.update(weights=w))
        energies[str(weights)] = evaluate(ReferencePotential(read_model(path)), structure, ("O", "H")).energy
    total = evaluate(ReferencePotential(whole), structure, ("O", "H")).energy
    mean, thirds = energies.values()
    assert mean == pytest.approx(thirds, abs=1e-10)
    # out_bias, −0.25 and 0.125 eV, is not part of the mean: four O and eight H give nothing together.
    assert total == pytest.approx(3.0 * mean, abs=1e-9)


def pytorch_names(tree) -> dict[str, np.ndarray]:
    """Return the tensors of a native dpa1 model under the names that PyTorch's checkpoint has."""
    tensors = {}

    def layers(prefix: str, network) -> None:
        for number, layer in enumerate(network["layers"]):
            for name, key in (("matrix", "w"), ("bias", "b"), ("idt", "idt")):
                if layer["@variables"].get(key) is not None:
                    tensors[f"{prefix}.layers.{number}.{name}"] = layer["@variables"][key]

    descriptor, fitting = tree["descriptor"], tree["fitting"]
    tensors["descriptor.se_atten.mean"] = descriptor["@variables"]["davg"]
    tensors["descriptor.se_atten.stddev"] = descriptor["@variables"]["dstd"]
    layers("descriptor.se_atten.filter_layers.networks.0", descriptor["embeddings"]["networks"][0])
    layers("descriptor.type_embedding.embedding.embedding_net", descriptor["type_embedding"]["embedding"])
    layers("fitting_net.filter_layers.networks.0", fitting["nets"]["networks"][0])
    tensors["fitting_net.bias_atom_e"] = fitting["@variables"]["bias_atom_e"]
    return tensors


@pytest.mark.parametrize("kind", ["zbl", "linear"])
def test_pytorch_files_are_brought_into_the_same_form(kind, monkeypatch) -> None:
    trees = []
    monkeypatch.setattr(
        "fastdp.model.readers.serialised_files.describe_serialised",
        lambda model, origin, shortest: (
            trees.append(model.tree) or describe_serialised(model, origin, shortest)
        ),
    )
    native = read_model(FOLDER / f"{kind}.dp")
    (tree,) = trees
    network = tree["models"][0]
    names = ("type", "rcut", "rcut_smth", "sel", "neuron", "axis_neuron", "attn_layer", "tebd_dim")
    part = {
        "type_map": ["O", "H"],
        "descriptor": {name: network["descriptor"][name] for name in names},
        "fitting_net": {"neuron": [8, 8], "resnet_dt": True},
    }
    tensors = {"out_bias": tree["@variables"]["out_bias"]}
    for number, entry in enumerate(tree["models"]):
        if entry["type"] == "pairtab":
            found = {"tab_info": entry["tab"]["@variables"]["tab_info"]}
            n = len(entry["type_map"])
            found["tab_data"] = entry["tab"]["@variables"]["tab_data"].reshape(n, n, -1, 4)
        else:
            found = pytorch_names(entry)
        tensors |= {f"models.{number}.{name}": value for name, value in found.items()}
    if kind == "zbl":
        parameters = part | {"use_srtab": "t", "sw_rmin": 0.8, "sw_rmax": 1.0, "smin_alpha": 0.3}
    else:
        tables = [
            {key: entry[key] for key in ("type", "rcut", "sel", "type_map")} for entry in tree["models"][1:]
        ]
        parameters = {
            "type": "linear_ener",
            "type_map": ["O", "H"],
            "weights": tree["weights"],
            "models": [part, *tables],
        }
    model = SerialisedModel(model_tree(parameters, tensors, "model.pt"), "model.pt", from_pytorch=True)
    read = describe_serialised(model, native.origin, None)
    for frame in ANSWERS.values():
        found = evaluate(ReferencePotential(read), structure_of(frame), ("O", "H"))
        np.testing.assert_allclose(found.atomic_energies, frame[kind]["atomic_energies"], rtol=0, atol=1e-11)
    for name in ("models.1.tab_info", "models.1.tab_data"):
        with pytest.raises(ModelError, match="tensors of a pair table"):
            model_tree(parameters, {k: v for k, v in tensors.items() if k != name}, "model.pt")


@pytest.mark.parametrize("name", ["srtab.pb", "linear.pb", "zbl.dp"])
def test_damaged_files_end_in_an_error_or_in_a_model(name, tmp_path) -> None:
    """200 flipped bits where a table and its switch stand, or anywhere."""
    content = (FOLDER / name).read_bytes()
    generator, path = np.random.default_rng(9), tmp_path / name
    marks = [
        content.find(mark) for mark in (b"SoftMinSwitch", b"t_tab_info", b"stack_3", b"nspline", b"sw_rmin")
    ]
    places = [mark + offset for mark in marks if mark >= 0 for offset in generator.integers(0, 200, 50)]
    places += list(generator.integers(0, len(content), 100))
    whole = read_model(FOLDER / name).fingerprint

    def read(damaged: bytes) -> str | None:
        """Return the fingerprint of what is read, if anything is."""
        path.write_bytes(damaged)
        try:
            return read_model(path).fingerprint
        except ModelError as error:
            message = str(error)
        assert str(path) in message
        return None

    for place in places:
        damaged = bytearray(content)
        damaged[place % len(content)] ^= 1 << int(generator.integers(8))
        read(bytes(damaged))
    for length in range(0, len(content), len(content) // 40):
        # What a graph has behind the energy, its gradients, may be missing.
        assert read(content[:length]) in (None, whole)
