"""Whole runs on the device against the same runs on the CPU, and what happens when something goes wrong."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from gpu_cases import (
    SKIN,
    at_random,
    compressed_case,
    run_settings,
    simulation,
    state_of,
)

from fastdp.dynamics.engine import StepLog
from fastdp.dynamics.factory import make_integrator
from fastdp.dynamics.settings import IntegratorSettings, NoseHooverSettings, VelocityVerletSettings
from fastdp.dynamics.state import State
from fastdp.errors import NonFiniteError, PairTooCloseError, RunawayTemperatureError, SimulationError
from fastdp.gpu.device.base import Device
from fastdp.gpu.engine import DeviceEngine
from fastdp.gpu.potential import CudaPotential
from fastdp.gpu.system import BYTES_PER_ATOM_OF_A_RUN
from fastdp.neighbours.selection import NeighbourLimit
from fastdp.neighbours.verlet_list import VerletList
from fastdp.output.checkpoint import load_latest
from fastdp.potential.base import Evaluation
from fastdp.potential.compressed.measurement import Atoms
from fastdp.potential.compressed.potential import CompressedPotential
from fastdp.simulation.overflow import OverflowWatch
from fastdp.simulation.record import state_of as state_of_checkpoint
from fastdp.simulation.settings import GuardSettings, RunSettings

NVE = VelocityVerletSettings(timestep_fs=1.0)
NVT = NoseHooverSettings(timestep_fs=1.0, temperature_K=300.0, thermostat_time_fs=20.0)
STEPS = 20
HOT = 3000.0
"""K; so hot that atoms cross faces of the cell and the list is built several times in 20 steps."""


def moving_atoms(periodic: bool = True) -> Atoms:
    return at_random(2, 3, periodic=periodic, seed=6)


def unwrapped(state: State) -> np.ndarray:
    return state.positions + state.images @ state.cell


def table(directory: Path) -> np.ndarray:
    return np.genfromtxt(directory / "thermo.csv", delimiter=",", comments="#", names=True)


@pytest.mark.parametrize(("integrator", "periodic"), [(NVE, True), (NVT, False)])
def test_a_run_is_that_of_the_cpu(
    device: Device, tmp_path: Path, integrator: IntegratorSettings, periodic: bool
) -> None:
    _, _, model = compressed_case("open boundaries", 1e-4)
    states, summaries = [], []
    for name, potential in (("gpu", CudaPotential(model, device)), ("cpu", CompressedPotential(model))):
        state = state_of(moving_atoms(periodic), HOT)
        run = simulation(run_settings(tmp_path / name, (STEPS, integrator), every=8), state, potential, 0.2)
        summaries.append(run.run())
        states.append(state)
    gpu, cpu = states
    assert summaries[0].neighbour_builds == summaries[1].neighbour_builds >= 2
    if periodic:
        assert cpu.images.any()
        fractional = gpu.positions @ np.linalg.inv(gpu.cell)
        # Put into the cell at the last build, and not far from it since.
        assert fractional.min() > -0.1
        assert fractional.max() < 1.1
    np.testing.assert_allclose(unwrapped(gpu), unwrapped(cpu), atol=1e-11)
    np.testing.assert_allclose(gpu.velocities, cpu.velocities, atol=1e-9)
    assert gpu.time_ps == cpu.time_ps
    found, expected = table(tmp_path / "gpu"), table(tmp_path / "cpu")
    for column in expected.dtype.names:
        np.testing.assert_allclose(found[column], expected[column], rtol=1e-8, atol=1e-9, err_msg=column)
    with h5py.File(tmp_path / "gpu/trajectory.h5") as a, h5py.File(tmp_path / "cpu/trajectory.h5") as b:
        positions = [f["particles/all/position/value"][:] for f in (a, b)]
        assert positions[0].shape == positions[1].shape
    for a, b in zip(summaries[0].stages, summaries[1].stages, strict=True):
        assert a.mean_temperature == pytest.approx(b.mean_temperature, rel=1e-9)
        assert a.scatter == pytest.approx(b.scatter, rel=1e-6)


def engine_of(
    device: Device,
    atoms: Atoms,
    *,
    skin: float = SKIN,
    chunk: int = 10,
    temperature: float = 300.0,
    **changes: object,
) -> tuple[DeviceEngine, State, Evaluation]:
    """Return an engine that holds atoms in motion, with their forces."""
    _, _, model = compressed_case("open boundaries", 1e-4)
    potential = CudaPotential(model, device)
    state = state_of(atoms, temperature)
    evaluation = Evaluation.empty(state.n_atoms)
    CompressedPotential(model).evaluate(atoms.neighbours(model.cutoff), evaluation)
    return DeviceEngine(potential, state, skin, chunk), state, evaluation


def test_memory_is_forecast_as_it_is_taken(device: Device) -> None:
    """By `memory_lines`, from the arrays of an evaluation; the rest is a run's."""
    engine, state, evaluation = engine_of(device, moving_atoms())
    engine.load(state, evaluation, make_integrator(NVE), 1e5)
    system, motion = engine._system, engine._motion
    run = engine.bytes - system.bytes + system.fixed_bytes
    # Some kilobytes whatever the number of atoms: the log, sums, the thermostat, and what is saved of it.
    fixed = motion.bytes
    saved = (*motion.changing, system.neighbours.status)
    fixed += sum(array.nbytes for array in saved)
    assert (run - fixed) / state.n_atoms == pytest.approx(BYTES_PER_ATOM_OF_A_RUN)


def test_nothing_is_read_within_a_chunk(device: Device) -> None:
    engine, state, evaluation = engine_of(device, moving_atoms(), temperature=HOT, skin=0.2)
    integrator = make_integrator(NVT)
    integrator.initialise(state)
    engine.count_neighbours([NeighbourLimit(3.0, np.array([100, 100]))])
    engine.load(state, evaluation, integrator, 1e5)
    before = device.reads
    log, halted = engine.advance(10, virial=True)
    assert not halted
    assert len(log) == 10
    assert engine.number_of_builds >= 1
    assert engine.neighbours_beyond() == []
    # The error word and the log, once each, however many steps there are.
    assert device.reads - before == 2
    before = device.reads
    engine.advance(1, virial=False)
    assert device.reads - before == 2


def test_reading_within_a_chunk_is_a_defect(device: Device) -> None:
    array = device.zeros(3, np.float64)
    device.reads_forbidden = True
    try:
        with pytest.raises(RuntimeError, match="within a step"):
            device.read(array)
    finally:
        device.reads_forbidden = False
    with pytest.raises(TypeError, match="on the device"):
        np.asarray(array)


def collapsing() -> Atoms:
    """A cluster that two atoms fly into: their neighbours become more in the course of a chunk."""
    atoms = moving_atoms(periodic=False)
    far = np.array([[7.0, 0.0, 0.0], [-7.0, 0.5, 0.0]])
    positions = np.vstack([atoms.positions - atoms.positions.mean(axis=0), far])
    types = np.append(atoms.types, [0, 1]).astype(np.int32)
    return Atoms(positions, types, np.zeros((3, 3)), np.zeros(3, bool))


def test_a_chunk_is_replayed_with_longer_rows(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """The result has the same bits as with rows that were long enough from the start."""
    results: list[tuple[StepLog, State, int]] = []
    monkeypatch.setattr("fastdp.gpu.neighbours.PLACES_AT_ONCE", 1)
    monkeypatch.setattr("fastdp.gpu.neighbours.SPARE", 1.0)
    # As many as each atom has at the start, and more than enough.
    for places in (2, 20):
        monkeypatch.setattr("fastdp.gpu.system.expected_neighbours", lambda *_, n=places: n)
        atoms = collapsing()
        engine, state, evaluation = engine_of(device, atoms, skin=0.3)
        engine.hold(state)
        capacity = engine._system.neighbours.capacity
        state.velocities[-2:, 0] = (-1000.0, 1000.0)
        # As hot as the flight of the two, so that the chain stays calm.
        integrator = make_integrator(replace(NVT, temperature_K=9e6, thermostat_time_fs=200.0))
        integrator.initialise(state)
        engine.load(state, evaluation, integrator, 1e8)
        log, halted = engine.advance(4, virial=True)
        assert not halted
        engine.fetch(state, evaluation, integrator)
        assert (engine._system.neighbours.capacity > capacity) == (places == 2)
        results.append((log, state, engine.number_of_builds))
    (first, short, builds), (second, long, same) = results
    assert builds == same > 1
    np.testing.assert_array_equal(short.positions, long.positions)
    np.testing.assert_array_equal(short.velocities, long.velocities)
    np.testing.assert_array_equal(first.potential_energy, second.potential_energy)
    np.testing.assert_array_equal(first.bath_energy, second.bath_energy)


@pytest.mark.parametrize("at", ["start", "step"])
def test_rows_that_were_too_short_are_gone_before_longer_ones_are_made(
    device: Device, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    """Rows take much of a large system's memory: there is no room for both."""
    if hasattr(device, "reports"):
        pytest.skip("shadow memory holds on to arrays")
    monkeypatch.setattr("fastdp.gpu.neighbours.PLACES_AT_ONCE", 1)
    monkeypatch.setattr("fastdp.gpu.neighbours.SPARE", 1.0)
    monkeypatch.setattr("fastdp.gpu.system.expected_neighbours", lambda *_: 2 if at == "step" else 0)
    engine, state, evaluation = engine_of(device, collapsing(), skin=0.3)
    state.velocities[-2:, 0] = (-1000.0, 1000.0)
    engine.hold(state)
    rows = weakref.ref(engine._system.neighbours._rooms._kept["rows"].raw)
    seen: list[bool] = []
    empty = device.empty

    def watched(shape, dtype):
        if dtype == np.int32 and shape == engine._system.neighbours.capacity * state.n_atoms:
            gc.collect()
            seen.append(rows() is None)
        return empty(shape, dtype)

    monkeypatch.setattr(device, "empty", watched)
    engine.load(state, evaluation, make_integrator(NVE), 1e8)
    assert seen == ([] if at == "step" else [True])
    engine.advance(4, virial=True)
    assert seen[0]


def narrow_watch(cutoff: float) -> OverflowWatch:
    """Two parts: one knew few neighbours of each type, the other few of all types in a shorter range."""
    parts = (SimpleNamespace(cutoff=cutoff, selection=(1, 2)), SimpleNamespace(cutoff=2.5, selection=(3,)))
    description = SimpleNamespace(
        type_names=("O", "H"), n_types=2, descriptor=SimpleNamespace(parts=parts), cutoff=cutoff
    )
    return OverflowWatch(description, truncates=False)


def test_neighbours_beyond_sel_are_counted_as_on_the_cpu(
    device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the middle of a chunk, which is done again because the rows are too short."""
    monkeypatch.setattr("fastdp.gpu.neighbours.PLACES_AT_ONCE", 1)
    monkeypatch.setattr("fastdp.gpu.neighbours.SPARE", 1.0)
    monkeypatch.setattr("fastdp.gpu.system.expected_neighbours", lambda *_: 2)
    _, _, model = compressed_case("open boundaries", 1e-4)
    said: dict[str, list[str]] = {"gpu": [], "cpu": []}
    for name, potential in (("gpu", CudaPotential(model, device)), ("cpu", CompressedPotential(model))):
        state = state_of(collapsing())
        watch = narrow_watch(model.cutoff)
        start = VerletList(model.cutoff, 0.3, state.cell, state.periodic, state.types)
        start.build(state.positions)
        watch.warnings(start)
        state.velocities[-2:, 0] = (-1000.0, 1000.0)
        settings = run_settings(tmp_path / name, (6, NVE), every=3)
        settings = RunSettings(settings.stages, settings.output, GuardSettings(1e9))
        simulation(settings, state, potential, 0.3, watch, said[name]).run()
    # Within a chunk the order is that of the pairs, not of the steps.
    assert sorted(said["gpu"]) == sorted(said["cpu"])
    assert any("of all types" in line for line in said["gpu"])
    assert any("neighbours (up to" in line for line in said["gpu"])


def failing_run(
    device: Device, directory: Path, state: State, **guards: float
) -> tuple[SimulationError, Path]:
    """Return the error that a run stops with."""
    _, _, model = compressed_case("open boundaries", 1e-4)
    settings = run_settings(directory, (30, NVE), every=20)
    settings = RunSettings(settings.stages, settings.output, GuardSettings(**guards))
    with pytest.raises(SimulationError) as caught:
        simulation(settings, state, CudaPotential(model, device)).run()
    return caught.value, directory / "crash.extxyz"


def dimer(distance: float, speed: float) -> State:
    """Two atoms that fly at each other, Å and Å/ps."""
    atoms = Atoms(
        np.array([[0.0, 0.0, 0.0], [distance, 0.0, 0.0]]),
        np.zeros(2, np.int32),
        np.zeros((3, 3)),
        np.zeros(3, bool),
    )
    state = state_of(atoms)
    state.velocities[:] = [[0.5 * speed, 0.0, 0.0], [-0.5 * speed, 0.0, 0.0]]
    return state


def test_a_pair_too_close_stops_the_run_at_its_step(device: Device, tmp_path: Path) -> None:
    """The same step, atoms and distance as on the CPU, in the middle of a chunk."""
    _, _, model = compressed_case("open boundaries", 1e-4)
    error, crash = failing_run(device, tmp_path / "gpu", dimer(2.0, 200.0), maximum_temperature_K=1e9)
    settings = run_settings(tmp_path / "cpu", (30, NVE), every=20)
    settings = RunSettings(settings.stages, settings.output, GuardSettings(1e9))
    cpu = simulation(settings, dimer(2.0, 200.0), CompressedPotential(model))
    with pytest.raises(PairTooCloseError) as expected:
        cpu.run()
    assert isinstance(error, PairTooCloseError)
    assert error.step == expected.value.step
    assert 1 < error.step < 20
    assert error.atoms == expected.value.atoms == (0, 1)
    assert error.reason.split(";")[0] == expected.value.reason.split(";")[0]
    assert crash.exists()


def test_a_lost_atom_stops_the_run(device: Device, tmp_path: Path) -> None:
    state = dimer(2.0, 0.0)
    state.velocities[1] = [1e12, 0.0, 0.0]
    error, crash = failing_run(device, tmp_path, state, maximum_temperature_K=1e30)
    assert isinstance(error, NonFiniteError)
    assert error.step == 1
    assert error.atoms == (1,)
    assert crash.exists()


def test_a_velocity_that_is_not_a_number_stops_the_run(device: Device, tmp_path: Path) -> None:
    """As it comes out of a force that is not finite; the guard is the position of the next step."""
    engine, state, evaluation = engine_of(device, moving_atoms(periodic=False))
    evaluation.forces[2, 1] = np.nan
    engine.load(state, evaluation, make_integrator(NVE), 1e5)
    log, halted = engine.advance(10, virial=False)
    assert halted
    assert len(log) == 0
    engine.fetch(state, evaluation, make_integrator(NVE))
    error = engine.error(state)
    assert isinstance(error, NonFiniteError)
    assert error.atoms == (2,)


def test_a_force_that_is_not_finite_stops_the_run(device: Device, tmp_path: Path) -> None:
    """The network's last layer is spoilt, so that only energies and forces show it."""
    _, _, model = compressed_case("open boundaries", 1e-4)
    potential = CudaPotential(model, device)
    state = state_of(moving_atoms(periodic=False))
    run = simulation(run_settings(tmp_path, (30, NVE), every=4), state, potential)

    original = run._engine.advance
    calls = []

    def spoil(steps: int, *, virial: bool):
        if calls:
            left = potential.device_model.centres[1].layers[-1].left.whole
            device.fill(left, np.nan)
        calls.append(steps)
        return original(steps, virial=virial)

    run._engine.advance = spoil
    with np.errstate(invalid="ignore"), pytest.raises(NonFiniteError) as caught:
        run.run()
    # The first chunk ends with the output at step 4.
    assert calls[0] == 4
    assert caught.value.step == 5
    assert "force on atom" in caught.value.reason
    assert (tmp_path / "crash.extxyz").exists()


def test_runaway_temperature_stops_the_run_at_its_step(device: Device, tmp_path: Path) -> None:
    state = state_of(moving_atoms(periodic=False), 300.0)
    error, _ = failing_run(device, tmp_path, state, maximum_temperature_K=200.0)
    # The start is judged by the host already.
    assert isinstance(error, RunawayTemperatureError)
    assert error.step == 0
    engine, state, evaluation = engine_of(device, moving_atoms(periodic=False))
    engine.load(state, evaluation, make_integrator(NVE), 200.0)
    log, halted = engine.advance(5, virial=False)
    assert halted
    assert len(log) == 1


def test_a_resumed_run_has_the_same_bits(device: Device, tmp_path: Path) -> None:
    """Stopped at a checkpoint in the middle of a stage, and gone on from there."""
    _, _, model = compressed_case("open boundaries", 1e-4)

    def settings(name: str, steps: int) -> RunSettings:
        return run_settings(tmp_path / name, (steps, NVT), every=3, checkpoint_every=4)

    # 4 is the end of one run, and the middle of the other.
    whole, part = (state_of(moving_atoms(), HOT) for _ in range(2))
    simulation(settings("whole", 7), whole, CudaPotential(model, device), 0.2).run()
    simulation(settings("parts", 4), part, CudaPotential(model, device), 0.2).run()
    checkpoint = load_latest(tmp_path / "parts/checkpoint.npz", pytest.fail)
    rest = state_of_checkpoint(checkpoint)
    run = simulation(settings("parts", 7), rest, CudaPotential(model, device), 0.2, checkpoint=checkpoint)
    run.run()
    np.testing.assert_array_equal(rest.positions, whole.positions)
    np.testing.assert_array_equal(rest.velocities, whole.velocities)
    np.testing.assert_array_equal(rest.images, whole.images)
    for column in table(tmp_path / "whole").dtype.names:
        np.testing.assert_array_equal(table(tmp_path / "parts")[column], table(tmp_path / "whole")[column])
