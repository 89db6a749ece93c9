"""A device that runs nothing and notes what would be launched, to compile it where there is no card."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastdp.gpu.device.base import Action, CardFeatures, DeviceArray
from fastdp.gpu.device.card_geometry import CardGeometry
from fastdp.gpu.device.stand_in import StandIn


@dataclass(frozen=True)
class Launch:
    """A kernel with its arguments: numbers, and NumPy arrays in the place of the device's.

    Attributes
    ----------
    kernel
        Of `numba.cuda.jit`, or a `SourceKernel`.
    grid, block : int
    arguments : tuple
    shared : int
        Bytes of dynamic shared memory.
    """

    kernel: Any
    grid: int
    block: int
    arguments: tuple[Any, ...]
    shared: int


class RecordingDevice(CardGeometry, StandIn):
    """A stand-in that keeps a list of launches, laid out as on a card.

    Parameters
    ----------
    features : CardFeatures, optional
        Of the card that it stands for, if that takes kernels in CUDA C++.

    Attributes
    ----------
    launches : list of Launch
    """

    name = "a recording"

    def __init__(self, features: CardFeatures | None = None) -> None:
        super().__init__()
        self.features = features
        self.launches: list[Launch] = []

    def launch(
        self, kernel: Any, grid: int, block: int, arguments: tuple[Any, ...], shared: int = 0
    ) -> Action:
        """Note the launch; the action does nothing."""
        values = tuple(value.raw if isinstance(value, DeviceArray) else value for value in arguments)
        self.launches.append(Launch(kernel, grid, block, values, shared))
        return lambda: None

    def product(
        self,
        a: DeviceArray,
        b: DeviceArray,
        out: DeviceArray,
        *,
        transposed: bool = False,
        accumulate: bool = False,
        tf32: bool = False,
    ) -> Action:
        """Return an action that does nothing."""
        return lambda: None
