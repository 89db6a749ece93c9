"""Q of the atoms in a window that slides over them gives what Q of all atoms does, bit for bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from compressed import evaluate
from gpu_cases import SMALL, compressed_case, size, state_of
from term_cases import smooth_table

from fastdp.dynamics.factory import make_integrator
from fastdp.dynamics.settings import VelocityVerletSettings
from fastdp.errors import BackendError
from fastdp.gpu import windows
from fastdp.gpu.device.base import Device
from fastdp.gpu.engine import DeviceEngine
from fastdp.gpu.potential import CudaPotential
from fastdp.gpu.tiles import Tile
from fastdp.gpu.windows import HELD, HIGH, LOW, SHIFT, most_pieces, sliding_window
from fastdp.potential.base import Evaluation
from fastdp.potential.compressed.measurement import Atoms
from fastdp.potential.terms.registry import make_terms
from fastdp.potential.terms.settings import PairTable

SKIN = 0.3


def column(reach: float, pieces: int, *, sorted_by_type: bool = False) -> Atoms:
    """A thin column of atoms, four or five for each piece; or all of one type below all of the other."""
    n = size(4 * pieces + 1, 600)
    types = np.arange(n, dtype=np.int32) % 2
    height = 1.2 * reach * pieces
    generator = np.random.default_rng(8)
    positions = generator.uniform(-0.2, 0.2, (n, 3)) + np.array([1.0, 1.0, 0.5])
    positions[:, 2] += np.arange(n) * height / n
    if not SMALL:
        positions[:, :2] += generator.uniform(0.0, 7.0, (n, 2))
    if sorted_by_type:
        types = (np.arange(n) >= n // 2).astype(np.int32)
    width = 9.0 if SMALL else 11.0
    return Atoms(positions, types, np.diag([width, width, height]), np.ones(3, bool))


@pytest.fixture
def little_memory(device: Device, monkeypatch: pytest.MonkeyPatch):
    """Make the device seem to have room for no Q of all atoms, and tiles small enough for pieces."""

    def shrink() -> None:
        monkeypatch.setattr(windows, "RESERVE", 0)
        monkeypatch.setattr("fastdp.gpu.system.RESERVE", 0)
        monkeypatch.setattr(device, "memory", lambda: (0, 1 << 30))

    monkeypatch.setattr("fastdp.gpu.tiles.LARGEST_TILE", size(1, 30))
    monkeypatch.setattr(windows, "REACHES_OF_A_PIECE", 1.1)
    return shrink


@pytest.mark.parametrize(
    ("precision", "network"), [("double", "layers"), ("mixed", "layers"), ("double", "fused")]
)
def test_the_same_bits_from_a_window(
    device: Device, little_memory, precision: str, network: str, tmp_path: Path
) -> None:
    """With a further term, which adds to energies, forces and virials that are there already."""
    if network == "fused" and device.features is None:
        pytest.skip("kernels in CUDA C++ need a card, or FASTDP_GPU_PTX")
    table = PairTable(smooth_table(tmp_path / "near.tab", 2))
    terms = make_terms([table], ("O", "H")) if precision == "double" else ()
    _, _, model = compressed_case("open boundaries", 1e-4)
    atoms = column(model.cutoff + SKIN, 4)
    results, bytes_of_q = [], []
    for _ in range(2):
        potential = CudaPotential(model, device, precision, terms=terms, network=network)
        results.append(evaluate(potential, atoms, SKIN))
        system = potential._system
        assert system is not None
        bytes_of_q.append(system._q.nbytes)
        little_memory()
    assert system.window_pieces == 4
    (line,) = potential.memory_lines()
    assert "of 3 of 4 parts of the system at a time" in line
    assert "too much" in line
    assert bytes_of_q[1] < 0.95 * bytes_of_q[0]
    whole, window = results
    np.testing.assert_array_equal(window.forces, whole.forces)
    np.testing.assert_array_equal(window.virial, whole.virial)
    np.testing.assert_array_equal(window.atomic_energies, whole.atomic_energies)


def test_a_window_that_is_too_narrow_is_widened(device: Device, little_memory) -> None:
    """Types that are not mixed have their pieces at different heights; steps are done again."""
    _, _, model = compressed_case("open boundaries", 1e-4)
    atoms = column(model.cutoff + SKIN, 4, sorted_by_type=True)
    ends = []
    for _ in range(2):
        potential = CudaPotential(model, device)
        state, evaluation = state_of(atoms), Evaluation.empty(len(atoms.types))
        engine = DeviceEngine(potential, state, SKIN)
        integrator = make_integrator(VelocityVerletSettings(timestep_fs=1.0))
        engine.load(state, evaluation, integrator, 1e6)
        pieces = engine._system.window_pieces
        log, halted = engine.advance(2, virial=True)
        assert not halted
        assert len(log) == 2
        engine.fetch(state, evaluation, integrator)
        ends.append((state.positions, state.velocities, evaluation.forces, evaluation.virial))
        little_memory()
    assert pieces == 4
    assert engine._system.window_pieces == 1
    for a, b in zip(*ends, strict=True):
        np.testing.assert_array_equal(a, b)


def test_without_room_for_a_window_either_it_is_an_error(
    device: Device, little_memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Few atoms cannot be cut into pieces: then memory for all of Q is asked for."""
    _, atoms, model = compressed_case("open boundaries", 1e-4)
    little_memory()
    potential = CudaPotential(model, device)
    rows = len(atoms.types) * 4 * potential.device_model.columns
    empty = device.empty

    def full(shape, dtype):
        if np.prod(shape) == rows:
            raise BackendError("no room")
        return empty(shape, dtype)

    monkeypatch.setattr(device, "empty", full)
    with pytest.raises(BackendError, match="no room"):
        evaluate(potential, atoms, SKIN)


@pytest.mark.parametrize(("counts", "pieces"), [((40, 83), 5), ((12, 9), 3), ((0, 30), 7), ((23, 0), 4)])
def test_places_in_the_window(counts: tuple[int, int], pieces: int) -> None:
    """Every pass finds Q of its piece and of the two beside it where it was made last."""
    generator = np.random.default_rng(3)
    tiles, start = [], 0
    for kind, n in enumerate(counts):
        for size_of_tile in generator.integers(2, 5, n).tolist():
            tiles.append(Tile(start, start + size_of_tile, kind))
            start += size_of_tile
    window = sliding_window(tiles, 2, pieces)
    q = np.full(window.rows, -1)
    done: list[int] = []
    for number, one in enumerate(window.passes):
        for tile, row, again in one.tiles:
            assert again == (tile.start in done)
            q[row : row + tile.size] = np.arange(tile.start, tile.stop)
        for target in one.targets:
            own = np.arange(target.start, target.stop)
            np.testing.assert_array_equal(q[target.row : target.row + len(own)], own)
            done += own.tolist()
        for kind in range(2):
            for low, high, shift in one.places[kind][:, [LOW, HIGH, SHIFT]]:
                np.testing.assert_array_equal(q[low + shift : high + shift], np.arange(low, high))
        # The piece itself and those beside it, whether or not the others fill their rooms.
        held = sum(high - low for low, high in one.places[:, :, [LOW, HIGH]].reshape(-1, 2))
        assert held >= sum(target.stop - target.start for target in one.targets)
        assert number < pieces
    assert sorted(done) == list(range(start))
    assert window.rows <= 1.6 * HELD * start / pieces


def test_how_many_pieces() -> None:
    tiles = [Tile(0, 1, t) for t in (0,) * 40 + (2,) * 21]
    assert most_pieces(tiles, 1000.0, 7.0) == 10
    assert most_pieces(tiles, 7.0 * 3 * 6.5, 7.0) == 6
    assert most_pieces([Tile(0, 1, 0)] * 1000, 1e5, 7.0) == windows.MOST
    assert most_pieces([], 10.0, 7.0) == 0
