"""What each launch of a GPU step has to do at least: operations, and bytes to and from memory.

Counted from the arguments of the launches themselves. Every number is counted once for each kernel that reads
or writes it, whatever the kernel does with it: what neighbours have in common is taken to come from a cache.
So the time that follows from it is a lower bound for this sequence of launches.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from fastdp.gpu.device.base import Action, Device, DeviceArray
from fastdp.gpu.device.source_kernel import SourceKernel
from fastdp.potential.terms.scalar import TABLE, ZBL

Count = Callable[[Any, "Density"], tuple[float, float]]

PRODUCT = "matrix product"


@dataclass(frozen=True)
class Density:
    """Neighbours of an atom: in the list, within the model's cutoff, and within that of further terms."""

    listed: float
    inside: float
    near: float = 0.0


@dataclass(frozen=True)
class Work:
    """One launch.

    Attributes
    ----------
    name, part : str
        Of the kernel, and of the part of a step that it belongs to.
    operations, moved : float
        Floating-point operations, a multiply-add being two; bytes.
    """

    name: str
    part: str
    operations: float
    moved: float

    def floor(self, operations: float, moved: float) -> float:
        """Return the seconds that it takes at least, by rates in 1/s and bytes/s."""
        return max(self.operations / operations, self.moved / moved)


def _pairs(geometry: float, basis: float, gathered: float) -> Count:
    """Operations for a neighbour: geometry, the basis by its order, and what is added up by order."""

    def count(a: Any, density: Density) -> tuple[float, float]:
        order, columns = a.order, a.n_types * a.n_functions
        table = a.result if hasattr(a, "result") else a.q
        each = geometry + basis * order * order + gathered * order
        # Row and counts, position, and 4 P numbers of M or Q.
        moved = 4 * density.listed + 4 * a.n_types + 24 + 4 * columns * table.dtype.itemsize
        if hasattr(a, "forces"):
            moved += 24 + 4 + (72 if a.with_virial else 0)
        return a.grid * (9 * density.listed + each * density.inside), a.grid * moved

    return count


OPERATIONS_OF_A_TERM = {ZBL: 200, TABLE: 20}
"""For a pair: four exponentials of some twenty multiply-adds each, or two cubics."""


def _pair_terms(a: Any, density: Density) -> tuple[float, float]:
    """Test every neighbour that is listed; evaluate and add up those that are near."""
    # A term that reaches less far has fewer, by the volume.
    reach = a.reach.raw.max(axis=(1, 2))
    shares = (reach / reach.max()) ** 3
    each = 8 + (18 if a.with_virial else 0)
    each += sum(
        OPERATIONS_OF_A_TERM[int(kind)] * share for kind, share in zip(a.kinds.raw, shares, strict=True)
    )
    # Row and counts, position, type and number; force, energy and virial read and written where there is
    # a neighbour.
    read = 4 * density.listed + 4 * a.n_types + 24 + 8
    written = 2 * (24 + 8 + (72 if a.with_virial else 0))
    return (
        a.grid * (9 * density.listed + each * density.near),
        a.grid * (read + written * min(1.0, density.near)),
    )


def _rows(reads_and_writes: float, operations: float) -> Count:
    """Kernels over (n, width), by the size of their last array."""
    return lambda a, _: (
        operations * a.n * a.width,
        reads_and_writes * a.n * a.width * a.arrays[-1].dtype.itemsize,
    )


def _atoms(moved: float, operations: float) -> Count:
    return lambda a, _: (operations * a.n, moved * a.n)


def _arrays(a: Any, _: Density) -> tuple[float, float]:
    return 0.0, float(sum(array.nbytes for array in a.arrays))


def _activate(a: Any, _: Density) -> tuple[float, float]:
    # z read and written, slope written, x read for a shortcut.
    return 5.0 * a.n * a.width, (3 + (a.shortcut != 0)) * a.n * a.width * a.z.dtype.itemsize


def _product_of_channels(a: Any, _: Density) -> tuple[float, float]:
    channels = a.left.shape[2] + (0 if a.right.raw is a.left.raw else a.right.shape[2])
    return 7.0 * a.n * a.width, (4 * channels + a.width) * a.n * a.descriptor.dtype.itemsize


def _triangle(a: Any, _: Density) -> tuple[float, float]:
    size = a.gradient.dtype.itemsize
    return 8.0 * a.n * a.q * a.q, (8 * a.q + a.gradient.shape[1]) * a.n * size


def _contract(a: Any, _: Density) -> tuple[float, float]:
    size = a.gradient.dtype.itemsize
    return (
        8.0 * a.n * a.width * a.depth,
        (a.width * a.depth + 4 * a.depth + 4 * a.width) * a.n * size,
    )


def _place(a: Any, _: Density) -> tuple[float, float]:
    n = 0 if a.only_at_build else a.stop - a.start
    return 12.0 * n, 64.0 * n


NOTHING = _atoms(0, 0)
"""Of the kernels that build the list, in a step that does not."""

COUNTS: dict[str, tuple[str, Count]] = {
    "moments": ("moments", _pairs(30, 2, 8)),
    "forces": ("forces", _pairs(85, 4, 22)),
    "add_pair_terms": ("further terms", _pair_terms),
    "activate": ("elementwise", _activate),
    "multiply": ("elementwise", _rows(3, 1)),
    "add": ("elementwise", _rows(3, 1)),
    "fold": ("elementwise", lambda a, _: (2 * a.n * a.half, 4 * a.n * a.half * a.below.dtype.itemsize)),
    "add_constant": ("elementwise", _rows(2, 1)),
    "store_energies": ("elementwise", _atoms(16, 1)),
    "product": ("elementwise", _product_of_channels),
    "triangle_backward": ("elementwise", _triangle),
    "contract": ("elementwise", _contract),
    "split": ("elementwise", lambda a, _: (a.batch * a.n * a.width, 12 * a.batch * a.n * a.width)),
    "check_displacement": ("list", _atoms(48, 8)),
    "place": ("list", _place),
    "kick_and_drift": ("motion", _atoms(5 * 24 + 8, 12)),
    "kick_and_measure": ("motion", _atoms(3 * 24 + 24, 14)),
    "scale_velocities": ("motion", _atoms(48, 3)),
    "partial_sums": ("forces", _arrays),
    "finish_sums": ("forces", _arrays),
    "end_step": ("motion", NOTHING),
    "begin_step": ("motion", NOTHING),
    "begin_evaluation": ("motion", NOTHING),
    "end_evaluation": ("motion", NOTHING),
}
"""Part of a step, and what is counted, by kernel; kernels that are not here build the list."""


@contextmanager
def counting(device: Device, density: Density) -> Iterator[list[tuple[Action, Work]]]:
    """Count what is to be launched by the actions that are made within; gives these with what was counted.

    Parameters
    ----------
    device : Device
    density : Density
    """
    found: list[tuple[Action, Work]] = []
    launch, product = device.launch, device.product

    def counted_launch(
        kernel: Any, grid: int, block: int, arguments: tuple[Any, ...], shared: int = 0
    ) -> Action:
        action = launch(kernel, grid, block, arguments, shared)
        found.append((action, _work(kernel, grid, arguments, density)))
        return action

    def counted_product(a: DeviceArray, b: DeviceArray, out: DeviceArray, **options: bool) -> Action:
        action = product(a, b, out, **options)
        batch = a.shape[0] if len(a.shape) == 3 else 1
        n, k, m = *a.shape[-2:], out.shape[-1]
        added = batch * n * m if options.get("accumulate") else 0
        size = a.dtype.itemsize * (batch * (n * k + n * m) + k * m + added)
        found.append((action, Work(PRODUCT, "matrix products", 2.0 * batch * n * k * m, float(size))))
        return action

    device.launch, device.product = counted_launch, counted_product  # type: ignore[method-assign]
    try:
        yield found
    finally:
        del device.launch, device.product


def plain_function(kernel: Any) -> Any:
    """Return the Python function of a kernel, compiled or simulated."""
    return kernel.py_func if hasattr(kernel, "py_func") else kernel.fn


def _fused_network(kernel: SourceKernel, arguments: tuple[Any, ...]) -> Work:
    """M read, Q written, and the weights once; what waits in scratch memory may stay in a cache."""
    moments, of_types = arguments[2], arguments[6:]
    counts, weights = of_types[::5], of_types[4::5]
    per_atom = 2.0 * moments.nbytes / moments.shape[0] + 16.0
    moved = sum(counts) * per_atom + sum(one.nbytes for one in weights)
    operations = sum(n * each for n, each in zip(counts, kernel.operations, strict=True))
    return Work(kernel.name, "fitting network", operations, moved)


def _work(kernel: Any, grid: int, arguments: tuple[Any, ...], density: Density) -> Work:
    if isinstance(kernel, SourceKernel):
        return _fused_network(kernel, arguments)
    function = plain_function(kernel)
    arrays = [value for value in arguments if isinstance(value, DeviceArray)]
    names = inspect.signature(function).parameters
    # What a kernel was compiled for, such as the order of the splines, counts as its arguments do.
    compiled_for = inspect.getclosurevars(function).nonlocals
    values = {**compiled_for, **dict(zip(names, arguments, strict=True))}
    bound = SimpleNamespace(**values, grid=grid, arrays=arrays)
    part, count = COUNTS.get(function.__name__, ("list", NOTHING))
    if "n" not in names:
        bound.n = 0
    operations, moved = count(bound, density)
    return Work(function.__name__, part, float(operations), float(moved))
