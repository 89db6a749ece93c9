"""Models that hold tables of pairs (use_srtab, zbl, linear): DeePMD-kit's numbers, gradients, backends."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import ase
import h5py
import numpy as np
import pytest
from cases import INPUT, run_fastdp, write_case
from term_cases import thermo

from fastdp.errors import BackendError, ModelError, PairTooCloseError, UnsupportedModelError
from fastdp.model.pair_part import NearestSwitch
from fastdp.model.readers.graph_def import MESSAGES
from fastdp.model.readers.pytorch_state import model_tree
from fastdp.model.readers.registry import read_model
from fastdp.model.readers.serialised import SerialisedModel, describe_serialised
from fastdp.model.summary import summarise
from fastdp.neighbours.verlet_list import VerletList
from fastdp.parallel.threads import thread_limits
from fastdp.potential.base import Evaluation
from fastdp.potential.factory import make_potential
from fastdp.potential.reference import ReferencePotential
from fastdp.potential.sum import SumPotential
from fastdp.potential.switched import SwitchedPotential
from fastdp.structure.structure import Structure
from fastdp.structure.types import match_types

FOLDER = Path(__file__).parents[1] / "pair_terms"
ANSWERS = json.loads((FOLDER / "answers.json").read_text())
FILES = {"srtab_pb": "srtab.pb", "linear_pb": "linear.pb", "zbl": "zbl.dp", "linear": "linear.dp"}


def structure_of(frame, move=None, strain=None) -> Structure:
    positions = np.array(frame["positions"]) + (0.0 if move is None else move)
    periodic = frame["cell"] is not None
    cell = np.array(frame["cell"]) if periodic else np.zeros((3, 3))
    deformation = np.eye(3) if strain is None else np.eye(3) + strain
    return Structure(
        symbols=tuple(frame["symbols"]),
        positions=positions @ deformation,
        cell=cell @ deformation,
        periodic=np.full(3, periodic),
        masses=np.ones(len(positions)),
    )


def evaluate(potential, structure: Structure, names) -> Evaluation:
    types = match_types(structure.symbols, names)
    neighbours = VerletList(potential.cutoff, 0.3, structure.cell, structure.periodic, types)
    neighbours.build(structure.positions)
    result = Evaluation.empty(structure.n_atoms)
    potential.evaluate(neighbours, result)
    return result


@pytest.mark.parametrize("model", FILES)
@pytest.mark.parametrize("frame", ANSWERS)
def test_numbers_are_those_of_deepmd(model, frame) -> None:
    description = read_model(FOLDER / FILES[model])
    answer = ANSWERS[frame][model]
    found = evaluate(ReferencePotential(description), structure_of(ANSWERS[frame]), description.type_names)
    # Energies of up to 200 eV; TensorFlow keeps lengths of the switch in float32, which is read so.
    np.testing.assert_allclose(found.atomic_energies, answer["atomic_energies"], rtol=0, atol=1e-11)
    if "forces" in answer:
        np.testing.assert_allclose(found.forces, answer["forces"], rtol=0, atol=1e-9)
        np.testing.assert_allclose(found.virial, answer["virial"], rtol=0, atol=1e-8)


def test_the_frames_lie_on_all_sides_of_the_switch() -> None:
    """Otherwise the agreement would say nothing."""
    switch = read_model(FOLDER / "srtab.pb").pair_part.switch
    closest = []
    for frame in ANSWERS.values():
        x = np.array(frame["positions"])
        r = np.linalg.norm(x[:, None] - x, axis=2) + 10.0 * np.eye(len(x))
        closest.append(r.min(axis=1))
    weights = switch.weight(np.concatenate(closest))[0]
    assert np.any(weights == 0.0)
    assert np.any((weights > 0.05) & (weights < 0.95))
    assert np.any(weights == 1.0)


@pytest.mark.parametrize("model", FILES)
@pytest.mark.parametrize("frame", ["switching", "open"])
def test_forces_and_virial_are_derivatives(model, frame) -> None:
    description = read_model(FOLDER / FILES[model])
    potential, h = ReferencePotential(description), 1e-5
    found = evaluate(potential, structure_of(ANSWERS[frame]), description.type_names)

    def energy(**change) -> float:
        return evaluate(potential, structure_of(ANSWERS[frame], **change), description.type_names).energy

    for atom, axis in ((0, 0), (1, 1), (5, 2)):
        step = np.zeros((12, 3))
        step[atom, axis] = h
        slope = (energy(move=step) - energy(move=-step)) / (2 * h)
        # Energies of 1000 eV over 2h: rounding; and h² times the switch's third derivative, which
        # multiplies the difference of energies of up to 200 eV: 1e-10 × 200 × 1e4.
        assert -slope == pytest.approx(found.forces[atom, axis], rel=3e-7, abs=2e-5)
    strain = np.zeros((3, 3))
    strain[0, 1] = h
    slope = (energy(strain=strain) - energy(strain=-strain)) / (2 * h)
    assert -slope == pytest.approx(found.virial[0, 1], rel=3e-7, abs=1e-4)


def test_a_switch_goes_from_one_to_zero() -> None:
    switch = NearestSwitch(0.1, 0.8, 1.0, 4.0)
    sigma = np.array([0.1, 0.8, 0.9, 1.0, 5.0, np.inf])
    weights, slopes = switch.weight(sigma)
    np.testing.assert_allclose(weights, [1.0, 1.0, 0.5, 0.0, 0.0, 0.0], atol=1e-15)
    np.testing.assert_allclose(slopes, [0.0, 0.0, -15.0 / 8.0 / 0.2, 0.0, 0.0, 0.0], atol=1e-13)


def test_an_atom_without_neighbours_has_the_energy_of_the_network() -> None:
    description = read_model(FOLDER / "srtab.pb")
    frame = {"symbols": ["O", "H"], "positions": [[0, 0, 0], [20, 0, 0]], "cell": None}
    mixed = evaluate(ReferencePotential(description), structure_of(frame), ("O", "H"))
    alone = ReferencePotential(replace(description, pair_part=None))
    assert np.array_equal(
        mixed.atomic_energies, evaluate(alone, structure_of(frame), ("O", "H")).atomic_energies
    )


def test_a_soft_minimum_does_not_underflow() -> None:
    """exp(−r/α) of DeePMD-kit is 0 beyond 745 α."""
    part = read_model(FOLDER / "srtab.pb").pair_part
    description = replace(
        read_model(FOLDER / "srtab.pb"),
        pair_part=replace(part, switch=replace(part.switch, softness=1e-4)),
    )
    found = evaluate(ReferencePotential(description), structure_of(ANSWERS["switching"]), ("O", "H"))
    assert np.isfinite(found.forces).all()


def test_a_pair_below_the_table_is_named() -> None:
    frame = ANSWERS["bonds"] | {"positions": np.array(ANSWERS["bonds"]["positions"])}
    frame["positions"][7] = frame["positions"][2] + [0.05, 0.0, 0.0]
    with pytest.raises(
        PairTooCloseError, match=r"atoms (2 and 7|7 and 2) are 0.0500 Å apart, .* at 0.1000 Å"
    ):
        evaluate(ReferencePotential(read_model(FOLDER / "zbl.dp")), structure_of(frame), ("O", "H"))


@pytest.mark.parametrize("name", ["linear.dp", "linear.pb"])
def test_fast_backends_add_the_tables_of_a_sum(name) -> None:
    structure = structure_of(ANSWERS["bonds"])
    description = read_model(FOLDER / name)
    assert description.cutoff == 5.0
    fast = make_potential(description, structure, backend="cpu", tolerance=1e-4)
    assert isinstance(fast, SumPotential)
    assert fast.driving.cutoff == 4.0
    exact = evaluate(ReferencePotential(description), structure, ("O", "H"))
    found = evaluate(fast, structure, ("O", "H"))
    # The compressed network is off by the tolerance.
    assert np.sqrt(np.mean((found.forces - exact.forces) ** 2)) < 3e-4
    assert found.energy == pytest.approx(exact.energy, abs=1e-2)
    np.testing.assert_allclose(found.virial, exact.virial, rtol=0, atol=1e-2)


def switched(name: str, structure: Structure, tolerance: float = 1e-5) -> SwitchedPotential:
    potential = make_potential(
        read_model(FOLDER / FILES[name]), structure, backend="cpu", tolerance=tolerance
    )
    assert isinstance(potential, SwitchedPotential)
    return potential


@pytest.mark.parametrize("model", ["srtab_pb", "zbl"])
@pytest.mark.parametrize("frame", ANSWERS)
def test_kernels_give_way_to_the_table_as_specified(model, frame) -> None:
    structure = structure_of(ANSWERS[frame])
    # Made for ordinary bonds: the tables of the network reach down to where its share ends all the same.
    potential = switched(model, structure_of(ANSWERS["bonds"]))
    found = evaluate(potential, structure, ("O", "H"))
    exact = evaluate(
        ReferencePotential(read_model(FOLDER / FILES[model]), every_neighbour=True), structure, ("O", "H")
    )
    # The compressed network is off by its tolerance of 1e-5 eV/Å where it was measured, and by more where
    # bonds are shorter; its energies, by about as many eV, are multiplied by slopes of w up to 10 / Å.
    assert np.sqrt(np.mean((found.forces - exact.forces) ** 2)) < 1e-3
    np.testing.assert_allclose(found.atomic_energies, exact.atomic_energies, rtol=0, atol=1e-3)
    np.testing.assert_allclose(found.virial, exact.virial, rtol=0, atol=5e-3)
    assert found.energy == pytest.approx(found.atomic_energies.sum(), abs=1e-10)


@pytest.mark.parametrize("frame", ["switching", "open", "table"])
def test_forces_of_the_kernels_are_derivatives(frame) -> None:
    """Of the energy of the kernels, whatever the error of the compression."""
    potential, h = switched("srtab_pb", structure_of(ANSWERS["bonds"])), 1e-5
    found = evaluate(potential, structure_of(ANSWERS[frame]), ("O", "H"))

    def energy(**change) -> float:
        return evaluate(potential, structure_of(ANSWERS[frame], **change), ("O", "H")).energy

    for atom, axis in ((0, 0), (1, 1), (5, 2)):
        step = np.zeros((12, 3))
        step[atom, axis] = h
        slope = (energy(move=step) - energy(move=-step)) / (2 * h)
        # As for the reference.
        assert -slope == pytest.approx(found.forces[atom, axis], rel=3e-7, abs=2e-5)


def test_threads_and_updates_do_not_matter_to_the_switch() -> None:
    structure = structure_of(ANSWERS["switching"])
    potential = switched("srtab_pb", structure)
    types = match_types(structure.symbols, ("O", "H"))
    neighbours = VerletList(potential.cutoff, 1.0, structure.cell, structure.periodic, types)
    neighbours.build(structure.positions)
    generator = np.random.default_rng(4)
    for _ in range(3):
        moved = structure.positions + generator.uniform(-0.1, 0.1, (12, 3))
        assert not neighbours.update(moved)
        results = []
        for threads in (1, 2):
            with thread_limits(threads):
                results.append(Evaluation.empty(12))
                potential.evaluate(neighbours, results[-1])
        fresh = evaluate(potential, replace(structure, positions=moved), ("O", "H"))
        for result in results:
            # Sums in another order, of forces up to 1e4 eV/Å.
            np.testing.assert_allclose(result.forces, fresh.forces, rtol=1e-10, atol=1e-9)
            assert result.energy == pytest.approx(fresh.energy, abs=1e-9)


def test_atoms_that_the_table_has_taken_over_may_come_as_close_as_it_reaches() -> None:
    frame = ANSWERS["bonds"] | {"positions": np.array(ANSWERS["bonds"]["positions"])}
    frame["positions"][4] = frame["positions"][3] + [0.15, 0.0, 0.0]
    potential = switched("srtab_pb", structure_of(ANSWERS["bonds"]))
    found = evaluate(potential, structure_of(frame), ("O", "H"))
    exact = evaluate(ReferencePotential(read_model(FOLDER / "srtab.pb")), structure_of(frame), ("O", "H"))
    np.testing.assert_allclose(found.forces[[3, 4]], exact.forces[[3, 4]], rtol=1e-6, atol=1e-2)
    frame["positions"][4] = frame["positions"][3] + [0.08, 0.0, 0.0]
    with pytest.raises(PairTooCloseError, match=r"atoms 3 and 4 are 0.0800 Å apart, .* at 0.1000 Å"):
        evaluate(potential, structure_of(frame), ("O", "H"))


def test_a_run_through_the_switch_conserves_energy(tmp_path) -> None:
    """The error of velocity Verlet is of the second order; that of a wrong force would not be."""
    spread = []
    for steps, timestep in ((25, 0.04), (50, 0.02)):
        folder = tmp_path / str(steps)
        folder.mkdir()
        text = INPUT.replace('"reference"', '"cpu"').replace("steps = 4", "steps = 0")
        text = text.replace("steps = 6\ntimestep_fs = 0.5", f"steps = {steps}\ntimestep_fs = {timestep}")
        frame = ANSWERS["switching"]
        atoms = ase.Atoms(frame["symbols"], frame["positions"], cell=frame["cell"], pbc=True)
        write_case(folder, FOLDER / "srtab.pb", text=text, atoms=atoms)
        result = run_fastdp("run", "input.toml", folder=folder)
        assert result.returncode == 0, result.stderr
        table = thermo(folder)
        table = table[table["stage"] == 1]
        assert np.ptp(table["kinetic_energy_eV"]) > 1.0
        spread.append(np.ptp(table["total_energy_eV"]))
    assert spread[0] / spread[1] == pytest.approx(4.0, rel=0.1)


def test_a_gpu_has_no_tables() -> None:
    with pytest.raises(BackendError, match="tables of the model"):
        make_potential(read_model(FOLDER / "srtab.pb"), structure_of(ANSWERS["bonds"]), backend="cuda")


def test_info_shows_tables() -> None:
    lines = dict(summarise(read_model(FOLDER / "srtab.pb")))
    assert lines["pair table, at short range"] == "0.1 to 4 Å in 196 intervals"
    assert "from 1 to 0.8 Å" in lines["switch to the table"]
    assert "2 of them" not in lines
    sums = dict(summarise(read_model(FOLDER / "linear.dp")))
    assert sums["pair tables, added"].startswith("0.1 to 4 Å in 196 intervals, 0.2 to 5 Å")


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


@pytest.mark.parametrize(
    ("name", "message"), [("srtab.pb", "tables of the model"), ("linear.pb", "further terms")]
)
def test_bench_times_the_network_alone(name, message, tmp_path) -> None:
    frame = ANSWERS["bonds"]
    atoms = ase.Atoms(frame["symbols"], frame["positions"], cell=frame["cell"], pbc=True)
    write_case(tmp_path, FOLDER / name, text=INPUT.replace('"reference"', '"cpu"'), atoms=atoms)
    result = run_fastdp("bench", "input.toml", "--seconds", "0.1", folder=tmp_path)
    assert result.returncode == 0, result.stderr
    assert f"{message} are left out" in result.stdout
