"""Launching kernels by the driver: packed arguments, and machine code that is kept on disk."""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
import sys
from types import SimpleNamespace

import numba
import numpy as np
import pytest

from fastdp.errors import BackendError
from fastdp.gpu.device import compiled as store
from fastdp.gpu.device.base import DeviceArray
from fastdp.gpu.device.compiled import Compiled
from fastdp.gpu.device.launchers import DriverLauncher, packed, signature_of

HOPPER = (9, 0)
A_CARD = SimpleNamespace(compute_capability=HOPPER, id=0)


def on_device(values: np.ndarray) -> DeviceArray:
    return DeviceArray(values, lambda raw: raw)


def address(raw: np.ndarray) -> int:
    return raw.ctypes.data


class FakeDriver:
    """Reads the parameters of a launch as the driver does: each stands where its address points."""

    def __init__(self, status: int = 0) -> None:
        self.status = status
        self.launches: list[tuple] = []
        self.kinds: list[type] = []

    def cuLaunchKernel(self, function, *others):
        grid, _, _, block, _, _, shared, stream, pointers, extra = others
        assert extra is None
        values = [kind.from_address(p).value for kind, p in zip(self.kinds, pointers, strict=True)]
        self.launches.append((function.value, grid.value, block.value, shared.value, stream.value, values))
        return self.status


def kernel_like(n):
    """Stand in for a dispatcher of Numba."""
    return SimpleNamespace(py_func=n)


def plain(status, n, x, values):
    pass


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTDP_CACHE_DIR", str(tmp_path))
    return tmp_path / "kernels"


@pytest.fixture
def compiles(monkeypatch):
    """Count what is compiled, without a compiler."""
    made = []

    def compile_kernel(function, signature, capability):
        made.append((function, signature, capability))
        return Compiled(f"code {len(made)}".encode(), function.__name__)

    monkeypatch.setattr(store, "compile_kernel", compile_kernel)
    return made


def test_arguments_are_packed_as_numba_lays_them_out():
    whole = np.zeros((4, 3, 5), np.float32)
    part = whole[:, 1:].transpose(1, 0, 2)
    found = packed((on_device(part), 7, 0.5, np.int32(3)), address)
    values = [value.value for value in found]
    assert values[:2] == [0, 0]
    assert values[2:11] == [2 * 4 * 5, 4, part.ctypes.data, 2, 4, 5, 20, 60, 4]
    assert values[11:] == [7, 0.5, 3]
    assert [type(value) for value in found[11:]] == [ctypes.c_int64, ctypes.c_double, ctypes.c_int64]
    with pytest.raises(TypeError, match="not 'text'"):
        packed(("text",), address)


def test_types_of_arguments():
    part = np.zeros((4, 3, 5), np.float32)[:, 1:]
    kinds = signature_of((on_device(part), on_device(part.copy()), 7, 0.5, np.int32(3)))
    assert [str(kind) for kind in kinds] == [
        "array(float32, 3d, A)",
        "array(float32, 3d, C)",
        "int64",
        "float64",
        "int64",
    ]


def test_a_launch_reaches_the_driver(folder, compiles):
    driver = FakeDriver()
    loaded = []

    def function_of(code):
        loaded.append(code)
        return 4711, code

    launcher = DriverLauncher(driver, 99, HOPPER, function_of, address)
    status, values = np.zeros(8, np.int32), np.zeros((2, 3))
    arguments = (on_device(status), 5, 0.25, on_device(values))
    driver.kinds = [type(value) for value in packed(arguments, address)]
    expected = [value.value for value in packed(arguments, address)]
    action = launcher.action(kernel_like(plain), 12, 64, arguments, 256)
    action()
    action()
    assert driver.launches == [(4711, 12, 64, 256, 99, expected)] * 2
    # Another launch of the kernel is not loaded again.
    launcher.action(kernel_like(plain), 1, 1, arguments, 0)
    assert len(compiles) == len(loaded) == 1
    driver.status = 701
    with pytest.raises(BackendError, match="plain with status 701"):
        action()


def test_arrays_live_as_long_as_the_action(folder, compiles):
    import gc
    import weakref

    driver = FakeDriver()
    launcher = DriverLauncher(driver, 0, HOPPER, lambda code: (1, code), address)
    values = on_device(np.zeros(3))
    watched = weakref.ref(values)
    action = launcher.action(kernel_like(plain), 1, 1, (values,), 0)
    del values
    gc.collect()
    assert watched() is not None
    del action
    gc.collect()
    assert watched() is None


def test_code_is_compiled_once_and_kept(folder, compiles):
    signature = signature_of((1, 0.5))
    first = store.compiled(plain, signature, HOPPER)
    assert store.compiled(plain, signature, HOPPER) == first
    assert len(compiles) == 1
    store.compiled(plain, signature, (8, 0))
    store.compiled(plain, signature_of((1, 2)), HOPPER)
    assert len(compiles) == 3
    assert len(list(folder.glob("*.npz"))) == 3


def test_code_that_the_driver_refuses_is_made_anew(folder, compiles):
    signature = signature_of((1,))
    store.store(store.key(plain, signature, HOPPER), Compiled(b"damaged", "plain"))

    def function_of(code):
        if code.code == b"damaged":
            raise RuntimeError("CUDA_ERROR_INVALID_IMAGE")
        return 1, code

    DriverLauncher(FakeDriver(), 0, HOPPER, function_of, address).action(kernel_like(plain), 1, 1, (1,), 0)
    assert len(compiles) == 1
    assert store.load(store.key(plain, signature, HOPPER)) == Compiled(b"code 1", "plain")


def test_a_damaged_entry_is_ignored(folder, compiles):
    signature = signature_of((1,))
    store.compiled(plain, signature, HOPPER)
    (path,) = folder.glob("*.npz")
    path.write_bytes(path.read_bytes()[:40])
    store.compiled(plain, signature, HOPPER)
    assert len(compiles) == 2


def test_a_folder_that_cannot_be_written_is_done_without(tmp_path, monkeypatch, compiles):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FASTDP_CACHE_DIR", str(tmp_path / "file"))
    assert store.compiled(plain, (), HOPPER).code == b"code 1"


def test_the_oldest_entries_go_first(folder, monkeypatch):
    monkeypatch.setattr(store, "LARGEST_NUMBER", 2)
    for number in range(3):
        store.store(f"{number}", Compiled(b"x", "y"))
        os.utime(folder / f"{number}.npz", (number, number))
    store.store("3", Compiled(b"x", "y"))
    assert {path.stem for path in folder.glob("*.npz")} == {"2", "3"}


KEYS = """
import numba
from fastdp.gpu.device.compiled import key
from fastdp.gpu.kernels.forces import force_kernel
from fastdp.gpu.kernels.layers import activation_kernel
from fastdp.gpu.kernels.moments import moment_kernel
from fastdp.gpu.kernels.motion import begin_step
for real in (numba.float32, numba.float64):
    for name in ("tanh", "gelu", "relu"):
        print(key(activation_kernel(real, name).py_func, (), (9, 0)))
    for order in (5, 6):
        forces = [force_kernel(real, order, *chosen) for chosen in ((), (True,), (False, True))]
        kernels = (moment_kernel(real, order), *forces)
        print(*(key(kernel.py_func, (), (9, 0)) for kernel in kernels))
print(key(begin_step.py_func, (), (9, 0)))
"""


def test_keys_tell_closures_apart_and_are_the_same_in_every_process(folder):
    printed = set()
    for seed in ("1", "2"):
        environment = {k: v for k, v in os.environ.items() if k != "NUMBA_ENABLE_CUDASIM"}
        done = subprocess.run(
            [sys.executable, "-P", "-c", KEYS],
            env=environment | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        printed.add(done.stdout)
    (text,) = printed
    names = text.split()
    assert len(set(names)) == len(names) == 23


def test_keys_follow_the_source(folder, monkeypatch):
    before = store.key(plain, (), HOPPER)
    monkeypatch.setattr(store, "_source_hash", lambda: "another")
    assert store.key(plain, (), HOPPER) != before


@pytest.fixture
def compiler(monkeypatch):
    """Numba-CUDA, told that there is a card."""
    pytest.importorskip("numba_cuda")
    pytest.importorskip("cuda.core")
    import numba.cuda.dispatcher as dispatcher

    monkeypatch.setattr(dispatcher, "get_current_device", lambda: A_CARD)


@pytest.mark.parametrize(("precision", "products"), [("double", "full"), ("mixed", "tf32x3")])
def test_every_kernel_takes_what_is_packed(compiler, model_file, precision, products):
    """By the parameters in the compiled code: number and width of each."""
    from compressed import random_atoms

    from fastdp.dynamics.factory import make_integrator
    from fastdp.dynamics.settings import NoseHooverSettings
    from fastdp.dynamics.state import State
    from fastdp.gpu.device.recording import RecordingDevice
    from fastdp.gpu.engine import DeviceEngine
    from fastdp.gpu.potential import CudaPotential
    from fastdp.model.readers.registry import read_model
    from fastdp.neighbours.selection import NeighbourLimit
    from fastdp.potential.base import Evaluation
    from fastdp.potential.compressed.tuning import compress
    from fastdp.potential.terms.registry import make_terms
    from fastdp.potential.terms.settings import ZBL

    description = read_model(model_file("two_sided"))
    atoms = random_atoms(np.random.default_rng(3), 2)
    model = compress(description, atoms, 1e-2)[0]
    n = len(atoms.types)
    state = State(
        positions=atoms.positions,
        velocities=np.zeros((n, 3)),
        images=np.zeros((n, 3), np.int32),
        masses=np.ones(n),
        cell=atoms.cell,
        periodic=atoms.periodic,
        symbols=("O",) * n,
        types=atoms.types,
    )
    device = RecordingDevice()
    terms = make_terms([ZBL(0.5, 1.0)], description.type_names)
    engine = DeviceEngine(CudaPotential(model, device, precision, products, terms), state, 1.0)
    integrator = make_integrator(NoseHooverSettings(timestep_fs=1.0, temperature_K=300.0))
    integrator.initialise(state)
    engine.count_neighbours([NeighbourLimit(model.cutoff, np.array([9, 9]))])
    engine.load(state, Evaluation.empty(n), integrator, 1e4)
    device.launches.clear()
    engine.step_actions(True)
    widths = {ctypes.c_int64: ("u64", "b64", "s64"), ctypes.c_double: ("f64",)}
    seen = set()
    for launch in device.launches:
        arguments = tuple(on_device(v) if isinstance(v, np.ndarray) else v for v in launch.arguments)
        signature = signature_of(arguments)
        if (launch.kernel, signature) in seen:
            continue
        seen.add((launch.kernel, signature))
        ptx = store.assembly(launch.kernel.py_func, signature, HOPPER)
        (header,) = re.findall(r"\.visible\s+\.entry\s+[\w$]+\(([^)]*)\)", ptx)
        kinds = re.findall(r"\.param\s+\.(\w+)", header)
        values = packed(arguments, address)
        assert len(kinds) == len(values), launch.kernel.py_func.__name__
        for kind, value in zip(kinds, values, strict=True):
            assert kind in widths[type(value)], launch.kernel.py_func.__name__
    assert len(seen) > 20
    assert "add_pair_terms" in {kernel.py_func.__name__ for kernel, _ in seen}


def test_machine_code_is_a_cubin_with_the_entry(compiler, folder):
    from fastdp.gpu.device.probe import combine

    arguments = (
        on_device(np.zeros(5, np.int32)),
        7,
        0.5,
        on_device(np.zeros((5, 3), np.float32)),
        on_device(np.zeros((5, 2, 3))[:, 1].transpose(1, 0)),
        on_device(np.zeros((3, 5))),
    )
    made = store.compiled(combine.py_func, signature_of(arguments), HOPPER)
    assert made.code[:4] == b"\x7fELF"
    assert made.entry.encode() in made.code
    assert store.load(store.key(combine.py_func, signature_of(arguments), HOPPER)) == made


def test_types_are_those_that_numba_finds():
    values = np.zeros((4, 3))
    assert signature_of((on_device(values), 1, 0.5)) == (numba.typeof(values), numba.int64, numba.float64)
