"""The kernels on shadow memory: no races, no reads of what nobody wrote, nothing out of bounds.

What follows on a card is `benchmarks/sanitize_gpu.py`.
"""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numba
import numpy as np
import pytest
from compressed import evaluate
from gpu_cases import compressed_case, state_of
from numba import config
from shadow import ShadowDevice
from shadow_memory import OutOfBoundsError

from fastdp.dynamics.factory import make_integrator
from fastdp.dynamics.settings import NoseHooverSettings, VelocityVerletSettings
from fastdp.errors import NonFiniteError, PairTooCloseError
from fastdp.gpu import system
from fastdp.gpu.device.base import Action, DeviceArray
from fastdp.gpu.device.card_geometry import CardGeometry
from fastdp.gpu.kernels import cell_list, forces, moments, motion, pairs, ranks, reductions
from fastdp.gpu.kernels.compiling import block_function
from fastdp.gpu.kernels.layers import SHORTCUT_CODES, activation_kernel
from fastdp.gpu.kernels.reductions import SUM_COLUMNS
from fastdp.gpu.kernels.status import FOUND, REBUILD, SIZE
from fastdp.gpu.network import network_actions
from fastdp.gpu.potential import CudaPotential
from fastdp.gpu.ranks.atoms import ResidentAtoms
from fastdp.gpu.rooms import Rooms
from fastdp.model.activations import ACTIVATIONS
from fastdp.neighbours.selection import NeighbourLimit
from fastdp.parallel.communicator import SERIAL
from fastdp.parallel.domain import deal_out
from fastdp.potential.base import Evaluation
from fastdp.potential.compressed.measurement import Atoms
from fastdp.potential.compressed.potential import CompressedPotential

pytestmark = pytest.mark.skipif(not config.ENABLE_CUDASIM, reason="a card has compute-sanitizer")

TOLERANCE = 1e-4
SKIN = 0.5
THREADS = 4


@pytest.fixture
def _fresh_arena(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every tile finds its arena as if nobody had used it before."""

    def fresh(device: Any, model: Any, batch: Any, arena: DeviceArray, arrays: Any) -> list[Action]:
        return [lambda: device.forget(arena), *network_actions(device, model, batch, arena, arrays)]

    monkeypatch.setattr("fastdp.gpu.system.network_actions", fresh)


@pytest.mark.usefixtures("_fresh_arena")
@pytest.mark.parametrize(
    ("name", "precision", "products"),
    [
        ("copper cluster", "double", "full"),
        ("ternary, triclinic", "double", "full"),
        ("open along one direction", "mixed", "tf32x3"),
        ("cell shorter than the cutoff", "mixed", "full"),
        ("time steps and other widths", "double", "full"),
        ("doubling layers", "mixed", "tf32x3"),
        ("identity from the first layer", "double", "full"),
        ("se_e2_r", "mixed", "full"),
        ("se_e2_a and se_e2_r", "double", "full"),
    ],
)
def test_an_evaluation(checked: ShadowDevice, name: str, precision: str, products: str) -> None:
    """With the build of the list and the virial, and again at positions that need no build."""
    _, atoms, model = compressed_case(name, TOLERANCE)
    potential = CudaPotential(model, checked, precision, products)
    for moved in (atoms, atoms.displaced(0.01, np.random.default_rng(1))):
        found, expected = evaluate(potential, moved, SKIN), evaluate(CompressedPotential(model), moved, SKIN)
        tolerance = 1e-12 if precision == "double" else 1e-4
        np.testing.assert_allclose(
            found.forces, expected.forces, atol=tolerance * np.abs(expected.forces).max()
        )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_and_shortcuts(checked: ShadowDevice, name: str, dtype: Any) -> None:
    """Each with each shortcut, and with and without a timestep."""
    n, n_in = 3, 4
    generator = np.random.default_rng(1)
    activation = ACTIVATIONS[name]
    kernel = activation_kernel(numba.from_dtype(np.dtype(dtype)), name)
    status = checked.zeros(SIZE, np.int32)
    for shortcut, width in (("none", 5), ("identity", n_in), ("doubling", 2 * n_in)):
        x, sums = (generator.normal(0.0, 1.0, (n, size)).astype(dtype) for size in (n_in, width))
        bias, timestep = generator.normal(0.0, 1.0, (2, width)).astype(dtype)
        passed = {"none": 0.0, "identity": x, "doubling": np.tile(x, 2)}[shortcut]
        for timed in (0, 1):
            z, slope = checked.upload(sums), checked.empty((n, width), dtype)
            given = (n, width, n_in, SHORTCUT_CODES[shortcut], timed)
            arrays = (checked.upload(bias), checked.upload(timestep), checked.upload(x), z, slope)
            checked.launch(kernel, *checked.rows(n, width), (status, *given, *arrays))()
            factor = timestep if timed else 1.0
            expected = passed + factor * activation.value(sums + bias)
            np.testing.assert_allclose(checked.read(z), expected, rtol=1e-5, atol=1e-6)
            expected = factor * activation.derivative(sums + bias)
            np.testing.assert_allclose(checked.read(slope), expected, rtol=1e-5, atol=1e-6)


def test_whether_others_are_seen_in_time_changes_nothing(checked: ShadowDevice) -> None:
    """The same bits with blocks and threads in the opposite order, which see what others found too late."""
    _, atoms, model = compressed_case("ternary, triclinic", TOLERANCE)
    unlike = ShadowDevice(backwards=True, late=True)
    first, second = (evaluate(CudaPotential(model, one), atoms, SKIN) for one in (checked, unlike))
    np.testing.assert_array_equal(first.forces, second.forces)
    np.testing.assert_array_equal(first.virial, second.virial)
    np.testing.assert_array_equal(first.atomic_energies, second.atomic_energies)
    assert unlike.reports == []


def steps(
    device: ShadowDevice, settings: Any, n_steps: int = 2, *, as_rank: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Return positions and counts of neighbours after steps in which the list is built."""
    _, atoms, model = compressed_case("open along one direction", TOLERANCE)
    state = state_of(atoms, 3000.0)
    evaluation = Evaluation.empty(state.n_atoms)
    CompressedPotential(model).evaluate(atoms.neighbours(model.cutoff), evaluation)
    domain = None
    if as_rank:
        state, domain, _ = deal_out(state, SERIAL)
    engine = CudaPotential(model, device).make_engine(state, 0.05, domain)
    engine.count_neighbours(
        [NeighbourLimit(3.0, np.array([0, 1])), NeighbourLimit(model.cutoff, np.array([2]))]
    )
    integrator = make_integrator(settings)
    integrator.initialise(state)
    engine.load(state, evaluation, integrator, 1e6)
    log, halted = engine.advance(n_steps, virial=True)
    assert not halted
    assert len(log) == n_steps
    assert engine.number_of_builds >= 1
    engine.fetch(state, evaluation, integrator)
    return state.positions, np.array([part.largest for part in engine.neighbours_beyond()])


NVT = NoseHooverSettings(timestep_fs=1.0, temperature_K=3000.0, thermostat_time_fs=20.0)


def test_steps(checked: ShadowDevice) -> None:
    """With counts of neighbours beyond a limit, which are the same in the opposite order."""
    unlike = ShadowDevice(backwards=True, late=True)
    (first, counts), (second, same) = steps(checked, NVT), steps(unlike, NVT)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(counts, same)
    assert counts.any()
    assert unlike.reports == []
    # The exceptions are needed; the others likewise below.
    assert ("check_displacement", "status", REBUILD) in checked.log.used
    assert ("count_neighbours", "counts", None) in checked.log.used


class LaidOutAsACard(CardGeometry, ShadowDevice):
    """With the blocks of a card, but not all blocks of a sum."""

    def sums(self) -> tuple[int, int]:
        """Return two blocks of a sum."""
        return 2, super().sums()[1]


def test_blocks_as_large_as_on_a_card() -> None:
    device = LaidOutAsACard()
    steps(device, VelocityVerletSettings(timestep_fs=1.0), 1)
    assert device.reports == []


def test_rows_that_overflow_at_once(checked: ShadowDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    """What follows a list that is of no use reads nothing unwritten, although nobody looks at the result."""
    monkeypatch.setattr("fastdp.gpu.system.expected_neighbours", lambda *_: 0)
    monkeypatch.setattr("fastdp.gpu.neighbours.PLACES_AT_ONCE", 2)
    _, atoms, model = compressed_case("cell shorter than the cutoff", TOLERANCE)
    evaluate(CudaPotential(model, checked), atoms, SKIN)
    assert ("fill_rows", "status", FOUND) in checked.log.used


def test_a_position_that_is_not_a_number(checked: ShadowDevice) -> None:
    """Likewise where there is no list at all."""
    _, atoms, model = compressed_case("open boundaries", TOLERANCE)
    neighbours = atoms.neighbours(model.cutoff, SKIN)
    neighbours.extended_positions[1, 2] = np.nan
    with pytest.raises(NonFiniteError):
        CudaPotential(model, checked).evaluate(neighbours, Evaluation.empty(len(atoms.types)))


def test_a_pair_too_close(checked: ShadowDevice) -> None:
    """The same is found whether or not a block sees that another has found it before."""
    _, _, model = compressed_case("open boundaries", TOLERANCE)
    limit = model.bases[0][0].shortest
    positions = np.array([[0.0, 0.0, 0.0], [3.0, 0.0, 0.0], [3.0, 0.9 * limit, 0.0]])
    atoms = Atoms(positions, np.array([1, 0, 0], np.int32), np.zeros((3, 3)), np.zeros(3, bool))
    late = ShadowDevice(late=True)
    for device in (checked, late):
        with pytest.raises(PairTooCloseError, match="atoms 1 and 2 are"):
            evaluate(CudaPotential(model, device), atoms, SKIN)
    assert late.reports == []
    assert ("moments", "status", FOUND) in checked.log.used


def test_forces_that_are_not_finite(checked: ShadowDevice) -> None:
    status, forces = checked.zeros(SIZE, np.int32), checked.upload(np.full((9, 3), np.nan))
    ones, trouble = checked.upload(np.ones(9)), checked.zeros(1, np.int32)
    velocities, partial = checked.zeros((9, 3), np.float64), checked.empty((2, SUM_COLUMNS), np.float64)
    arguments = (status, 9, 0.5, ones, ones, forces, ones, velocities, partial, trouble)
    checked.launch(motion.kick_and_measure, 2, THREADS, arguments)()
    assert checked.read(trouble) == [1]
    assert ("kick_and_measure", "trouble", 0) in checked.log.used


def test_steps_of_a_rank(checked: ShadowDevice) -> None:
    """With images of its own atoms as ghosts; the same as on a device that moves all atoms."""
    expected, _ = steps(checked, NVT, 1)
    found, counts = steps(checked, NVT, 1, as_rank=True)
    np.testing.assert_allclose(found, expected, atol=1e-11)
    assert counts.any()
    assert ("set_flags", "flags", None) in checked.log.used
    # Blocks in the opposite order list and add up in the same one.
    unlike = ShadowDevice(backwards=True, late=True)
    np.testing.assert_array_equal(steps(unlike, NVT, 1, as_rank=True)[0], found)
    assert unlike.reports == []


def test_atoms_that_leave_a_rank(checked: ShadowDevice) -> None:
    """Their rows are taken out, and filled by the last ones."""
    _, atoms, _ = compressed_case("ternary, triclinic", TOLERANCE)
    state, domain, _ = deal_out(state_of(atoms), SERIAL)
    resident = ResidentAtoms(checked, Rooms(checked, 1.1), domain.space, SERIAL)
    resident.load({**state.atom_arrays(), "forces": np.zeros((state.n_atoms, 3))})
    status, gone = checked.zeros(SIZE, np.int32), np.array([0, 3, state.n_atoms - 1], np.int32)
    taken = resident._take(status, "positions", checked.upload(gone), resident.field("positions"))
    np.testing.assert_array_equal(taken, state.positions[gone])
    resident._close_gaps(status, gone)
    found, _ = resident.fetch()
    staying = np.setdiff1d(np.arange(state.n_atoms), gone)
    np.testing.assert_array_equal(found["identifiers"], state.identifiers[staying])
    np.testing.assert_array_equal(found["velocities"], state.velocities[staying])
    assert {"take_rows", "move_rows"} <= checked.log.kernels


def test_ghosts(checked: ShadowDevice) -> None:
    _, atoms, model = compressed_case("cell shorter than the cutoff", TOLERANCE)
    potential = CudaPotential(model, checked, "mixed")
    potential._evaluate_share(atoms.neighbours(model.cutoff, 0.1), Evaluation.empty(len(atoms.types)), True)


def without_barrier(module: ModuleType, number: int) -> ModuleType:
    """Return a module without one of its barriers, in the order of the source."""
    source = Path(module.__file__ or "").read_text()
    tree = ast.parse(source)
    barriers = [node for node in ast.walk(tree) if is_barrier(node)]
    barriers.sort(key=lambda node: node.lineno)
    barriers[number].value = ast.copy_location(ast.Constant(None), barriers[number])
    found = ModuleType(module.__name__)
    exec(compile(tree, module.__file__ or "", "exec"), vars(found))
    return found


def is_barrier(node: ast.AST) -> bool:
    """Whether a statement is `cuda.syncthreads()`."""
    return isinstance(node, ast.Expr) and ast.unparse(node) == "cuda.syncthreads()"


def number_of_barriers(module: ModuleType) -> int:
    """Return how many there are in the source of a module."""
    return sum(map(is_barrier, ast.walk(ast.parse(Path(module.__file__ or "").read_text()))))


def pair_sums(device: ShadowDevice, module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Evaluate atoms with more than 32 neighbours of each type, by what a module has of the two loops."""
    if hasattr(module, "moment_kernel"):
        monkeypatch.setattr(system, "moment_kernel", module.moment_kernel)
    elif hasattr(module, "force_kernel"):
        monkeypatch.setattr(system, "force_kernel", module.force_kernel)
    else:
        for user in (moments, forces):
            append = block_function(module.append_near, vars(user))
            monkeypatch.setattr(user, "fill", module.ring_filler(append))
    _, atoms, model = compressed_case("cell shorter than the cutoff", TOLERANCE)
    evaluate(CudaPotential(model, device), atoms, 2.0)


def sums(device: ShadowDevice, module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sum columns."""
    status, values = device.zeros(SIZE, np.int32), device.upload(np.arange(18.0).reshape(9, 2))
    arguments = (status, 9, 2, values, device.empty((2, 2), np.float64))
    device.launch(module.partial_sums, 2, THREADS, arguments)()


def scans(device: ShadowDevice, module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scan 23 numbers; sort nine atoms in one launch."""
    status, values = device.zeros(SIZE, np.int32), np.arange(23, dtype=np.int32)
    device.fill(status[REBUILD : REBUILD + 1], 1)
    uploaded, totals, starts = device.upload(values), device.zeros(7, np.int32), device.zeros(24, np.int32)
    device.launch(module.sum_tiles, 6, THREADS, (status, 23, uploaded, totals))()
    device.launch(module.scan_totals, 1, THREADS, (status, 6, totals))()
    device.launch(module.scan_tiles, 6, THREADS, (status, 23, uploaded, totals, starts))()
    if not device.reports:
        np.testing.assert_array_equal(device.read(starts)[1:], np.cumsum(values))
    n, n_keys = 9, 14
    # Two types in seven cells along x.
    geometry = np.zeros((cell_list.GEOMETRY_ROWS, 3))
    geometry[cell_list.RECIPROCAL : cell_list.RECIPROCAL + 3] = np.eye(3)
    geometry[cell_list.SCALE] = 1.0
    counts = np.array([[7, 1, 1], [0, 0, 0], [1, 1, 1]], np.int32)
    x, kinds = np.array([3.5, 0.5, 6.5, 3.2, 0.1, 5.5, 3.9, 0.2, 6.1]), np.arange(n, dtype=np.int32) % 2
    positions = np.stack([x, 0 * x, 0 * x], axis=1)
    order, sorted_positions = device.empty(n, np.int32), device.empty((n, 3), np.float64)
    tables = (device.upload(geometry), device.upload(counts), device.upload(kinds), device.upload(positions))
    scratch = (
        device.empty(n, np.int32),
        device.empty((n, 3), np.int32),
        device.empty(n_keys, np.int32),
        device.empty(n_keys + 1, np.int32),
    )
    arguments = (status, n, n_keys, *tables, *scratch, order, sorted_positions)
    device.launch(module.sort_few, 1, THREADS, arguments)()
    if not device.reports:
        expected = np.lexsort([np.arange(n), np.floor(x), kinds])
        np.testing.assert_array_equal(device.read(order), expected)
        np.testing.assert_array_equal(device.read(sorted_positions), positions[expected])


def bounds(device: ShadowDevice, module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Find the box of nine atoms."""
    status, positions = device.zeros(SIZE, np.int32), device.upload(np.arange(27.0).reshape(9, 3))
    space = device.zeros((ranks.SPACE_ROWS, 3), np.float64)
    partial = device.empty((2, ranks.BOUNDS_COLUMNS), np.float64)
    device.launch(module.find_bounds, 2, THREADS, (status, 9, space, positions, partial))()


USES: list[tuple[ModuleType, Callable[..., None]]] = [
    (pairs, pair_sums),
    (moments, pair_sums),
    (forces, pair_sums),
    (reductions, sums),
    (cell_list, scans),
    (ranks, bounds),
]


@pytest.mark.parametrize(
    ("module", "use", "number"),
    [(module, use, number) for module, use in USES for number in range(number_of_barriers(module))],
    ids=lambda value: value.__name__.rpartition(".")[2] if hasattr(value, "__name__") else str(value),
)
def test_every_barrier_is_needed(
    module: ModuleType, use: Callable[..., None], number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without any one of them something is found; with all of them nothing."""
    device = ShadowDevice()
    use(device, module, monkeypatch)
    assert device.reports == []
    # Distances may be anything, too.
    with contextlib.suppress(OutOfBoundsError, PairTooCloseError):
        use(device, without_barrier(module, number), monkeypatch)
    found = {report.check for report in device.reports}
    # Who comes too early may find nothing written yet, or the wrong index.
    assert found
    assert found <= {"racecheck", "initcheck", "memcheck"}
