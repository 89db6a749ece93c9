"""Energy, forces and virial of the GPU's kernels against the reference and the CPU."""

from __future__ import annotations

import numpy as np
import pytest
from compressed import evaluate, rms
from gpu_cases import CASES, at_random, compressed_case, size, tiny_cell

from fastdp.errors import InputError, NonFiniteError, PairTooCloseError
from fastdp.gpu.device.base import Device
from fastdp.gpu.device.probe import try_out
from fastdp.gpu.potential import CudaPotential
from fastdp.potential.base import Evaluation
from fastdp.potential.compressed.measurement import Atoms
from fastdp.potential.compressed.potential import CompressedPotential
from fastdp.potential.reference import ReferencePotential

# As the CPU's kernels in test_compressed_potential.py.
TOLERANCE = 1e-5
MIXED = 5e-5
SKIN = 0.7


@pytest.mark.parametrize("name", CASES)
def test_forces_energies_and_virial(device: Device, name: str) -> None:
    description, atoms, model = compressed_case(name, TOLERANCE)
    expected = evaluate(ReferencePotential(description, every_neighbour=True), atoms)
    cpu = evaluate(CompressedPotential(model), atoms, skin=SKIN)
    found = evaluate(CudaPotential(model, device), atoms, skin=SKIN)
    # The same sums in another order.
    largest = np.abs(cpu.forces).max()
    np.testing.assert_allclose(found.forces, cpu.forces, atol=1e-12 * largest)
    np.testing.assert_allclose(found.virial, cpu.virial, atol=1e-11 * np.abs(cpu.virial).max())
    np.testing.assert_allclose(found.atomic_energies, cpu.atomic_energies, rtol=1e-12)
    assert found.energy == pytest.approx(cpu.energy, rel=1e-12)
    # Of another structure than the one compressed on: ten times the tolerance, as on the CPU.
    assert rms(found.forces - expected.forces) <= 10 * TOLERANCE
    np.testing.assert_allclose(found.atomic_energies, expected.atomic_energies, atol=1e-4)
    np.testing.assert_allclose(found.virial, expected.virial, atol=100 * TOLERANCE * len(atoms.types))


@pytest.mark.parametrize("name", ["water frame", "ternary, triclinic", "open along one direction"])
def test_atoms_are_sorted_alike_in_one_launch_and_in_many(
    device: Device, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, atoms, model = compressed_case(name, TOLERANCE)
    monkeypatch.setattr("fastdp.gpu.neighbours.FEW_ATOMS", 10**6)
    few = evaluate(CudaPotential(model, device), atoms, skin=SKIN)
    monkeypatch.setattr("fastdp.gpu.neighbours.FEW_ATOMS", 0)
    many = evaluate(CudaPotential(model, device), atoms, skin=SKIN)
    np.testing.assert_array_equal(few.forces, many.forces)
    np.testing.assert_array_equal(few.virial, many.virial)
    np.testing.assert_array_equal(few.atomic_energies, many.atomic_energies)


@pytest.mark.parametrize("name", ["copper cluster", "open along one direction", "gelu"])
def test_mixed_precision(device: Device, name: str) -> None:
    _, atoms, model = compressed_case(name, TOLERANCE)
    double = evaluate(CompressedPotential(model), atoms, skin=SKIN)
    mixed = evaluate(CudaPotential(model, device, "mixed"), atoms, skin=SKIN)
    assert rms(mixed.forces - double.forces) <= MIXED
    assert abs(mixed.energy - double.energy) / len(atoms.types) < 1e-5


def test_products_in_tf32(device: Device) -> None:
    """Three products of split factors are as good as float32; one of rounded factors is far off."""
    _, atoms, model = compressed_case("copper cluster", TOLERANCE)
    double = evaluate(CompressedPotential(model), atoms, skin=SKIN)
    split, rounded = (
        rms(evaluate(CudaPotential(model, device, "mixed", products), atoms, SKIN).forces - double.forces)
        for products in ("tf32x3", "tf32")
    )
    assert split <= MIXED
    assert 1e-4 < rounded < 0.1
    with pytest.raises(InputError, match='needs precision = "mixed"'):
        CudaPotential(model, device, "double", "tf32")


def test_one_potential_serves_moving_atoms_and_other_systems(device: Device) -> None:
    """The list is kept while atoms move little, and built anew where they moved or the cell is another."""
    _, atoms, model = compressed_case("open boundaries", TOLERANCE)
    gpu, cpu = CudaPotential(model, device), CompressedPotential(model)
    generator = np.random.default_rng(2)
    for distance in (0.0, 0.02, 0.2):
        moved = atoms.displaced(distance, generator)
        neighbours = moved.neighbours(model.cutoff, SKIN)
        found, expected = (Evaluation.empty(len(atoms.types)) for _ in range(2))
        gpu.evaluate(neighbours, found, virial=False)
        cpu.evaluate(neighbours, expected, virial=False)
        np.testing.assert_allclose(found.forces, expected.forces, atol=1e-12)
        assert not found.virial_is_current
    other = tiny_cell()
    found, expected = evaluate(gpu, other, SKIN), evaluate(cpu, other, SKIN)
    np.testing.assert_allclose(found.forces, expected.forces, atol=1e-12)


def test_rows_that_overflow_grow(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastdp.gpu.system.expected_neighbours", lambda *_: 0)
    monkeypatch.setattr("fastdp.gpu.neighbours.PLACES_AT_ONCE", 2)
    _, atoms, model = compressed_case("cell shorter than the cutoff", TOLERANCE)
    potential = CudaPotential(model, device)
    expected = evaluate(CompressedPotential(model), atoms, SKIN)
    found = evaluate(potential, atoms, SKIN)
    np.testing.assert_allclose(found.forces, expected.forces, atol=1e-12)
    system = potential._system
    assert system is not None
    most = np.diff(atoms.neighbours(model.cutoff, SKIN).first).max()
    assert most <= system.neighbours.capacity <= 1.2 * most + 4


def test_a_pair_below_the_table_is_named(device: Device) -> None:
    _, _, model = compressed_case("open boundaries", TOLERANCE)
    limit = model.bases[0][0].shortest
    positions = np.array([[0.0, 0.0, 0.0], [3.0, 0.0, 0.0], [3.0, 0.9 * limit, 0.0]])
    atoms = Atoms(positions, np.array([1, 0, 0], np.int32), np.zeros((3, 3)), np.zeros(3, bool))
    potential = CudaPotential(model, device)
    with pytest.raises(PairTooCloseError, match=f"atoms 1 and 2 are {0.9 * limit:.4f} Å apart") as caught:
        evaluate(potential, atoms)
    assert caught.value.atoms == (1, 2)
    # The error is forgotten with the next structure.
    good = at_random(2, 5, periodic=False)
    expected = evaluate(CompressedPotential(model), good)
    np.testing.assert_allclose(evaluate(potential, good).forces, expected.forces, atol=1e-12)


def test_a_position_that_is_not_a_number(device: Device) -> None:
    _, atoms, model = compressed_case("open boundaries", TOLERANCE)
    neighbours = atoms.neighbours(model.cutoff, SKIN)
    neighbours.extended_positions[1, 2] = np.nan
    with pytest.raises(NonFiniteError):
        CudaPotential(model, device).evaluate(neighbours, Evaluation.empty(len(atoms.types)))


def test_the_same_bits_each_time(device: Device) -> None:
    _, atoms, model = compressed_case("open along one direction", TOLERANCE)
    first, second = (evaluate(CudaPotential(model, device, "mixed"), atoms, SKIN) for _ in range(2))
    np.testing.assert_array_equal(first.forces, second.forces)
    np.testing.assert_array_equal(first.virial, second.virial)


def test_several_tiles_share_an_arena(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastdp.gpu.tiles.LARGEST_TILE", size(2, 70))
    _, _, model = compressed_case("open boundaries", TOLERANCE)
    atoms = at_random(2, 5, periodic=False)
    potential = CudaPotential(model, device)
    found, expected = evaluate(potential, atoms, SKIN), evaluate(CompressedPotential(model), atoms, SKIN)
    assert potential._system is not None
    assert len(potential._system.tiles) > model.n_types
    np.testing.assert_allclose(found.forces, expected.forces, atol=1e-12)
    np.testing.assert_allclose(found.atomic_energies, expected.atomic_energies, rtol=1e-12)


@pytest.mark.parametrize("name", ["ternary, triclinic", "cell shorter than the cutoff"])
def test_atoms_with_ghosts_that_others_own(
    device: Device, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the share of one of several ranks: images are ghosts; what is done to them goes to their owners."""
    monkeypatch.setattr("fastdp.gpu.system.expected_neighbours", lambda *_: 0)
    _, atoms, model = compressed_case(name, TOLERANCE)
    cpu, gpu = CompressedPotential(model), CudaPotential(model, device)
    generator = np.random.default_rng(5)
    neighbours = atoms.neighbours(model.cutoff, SKIN)
    for rebuilt in (False, True):
        moved = atoms.displaced(0.05, generator)
        assert not neighbours.update(moved.positions)
        if rebuilt:
            neighbours.build(moved.positions)
        found, expected = (Evaluation.empty(len(atoms.types)) for _ in range(2))
        gpu._evaluate_share(neighbours, found, True)
        cpu.evaluate(neighbours, expected)
        largest = np.abs(expected.forces).max()
        np.testing.assert_allclose(found.forces, expected.forces, atol=1e-12 * largest)
        np.testing.assert_allclose(found.virial, expected.virial, atol=1e-11 * np.abs(expected.virial).max())
        np.testing.assert_allclose(found.atomic_energies, expected.atomic_energies, rtol=1e-12)
        assert found.energy == pytest.approx(expected.energy, rel=1e-12)
        assert found.ghost_forces.shape == (0, 3)


class Changed:
    """A launcher that gives kernels other numbers than it was asked to."""

    name = "changed"

    def __init__(self, device: Device, changed: tuple[float, ...] = ()) -> None:
        self.device, self.changed = device, changed

    def action(self, kernel, grid, block, arguments, shared):
        given = tuple(a + 1 if a in self.changed else a for a in arguments[1:3])
        return self.device.launch(kernel, grid, block, (arguments[0], *given, *arguments[3:]), shared)


def test_a_launcher_is_tried_out(device: Device) -> None:
    assert try_out(device, Changed(device)) == ""
    assert try_out(device, Changed(device, (7,))).startswith("a trial gave")
    assert try_out(device, Changed(device, (0.5,))).startswith("a trial gave")
