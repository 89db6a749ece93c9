"""Making a potential by the name of its backend."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from fastdp.errors import BackendError
from fastdp.model.description import DeepPotential
from fastdp.potential.base import Potential, Precision
from fastdp.potential.reference import ReferencePotential
from fastdp.structure.structure import Structure
from fastdp.structure.types import match_types


@dataclass(frozen=True)
class Request:
    """What is asked of a backend.

    Attributes
    ----------
    description : DeepPotential
    structure : Structure
        That the potential is going to be used on.
    precision : {"double", "mixed"}
    tolerance : float
        eV/Å, rms force error of a compressed potential.
    report : callable
        Told what is done and what came out.
    state : mapping of str to array or None
        `Potential.state_arrays()` of the potential to make again; None for a new one.
    """

    description: DeepPotential
    structure: Structure
    precision: Precision
    tolerance: float
    report: Callable[[str], None]
    state: Mapping[str, NDArray[Any]] | None


Maker = Callable[[Request], Potential]
BACKENDS: dict[str, Maker] = {}


def backend(name: str) -> Callable[[Maker], Maker]:
    """Register a function that makes potentials under a name."""

    def register(maker: Maker) -> Maker:
        BACKENDS[name] = maker
        return maker

    return register


def make_potential(
    description: DeepPotential,
    structure: Structure,
    *,
    backend: str = "auto",
    precision: Precision = "double",
    tolerance: float = 1e-5,
    report: Callable[[str], None] = lambda _: None,
    state: Mapping[str, NDArray[Any]] | None = None,
) -> Potential:
    """Make a potential for a structure.

    Parameters
    ----------
    description : DeepPotential
    structure : Structure
        A compressed potential is made for it: its error is measured there, and its tables begin below its
        shortest distances.
    backend : str
        A name in `BACKENDS`, or "auto" for the fastest that this machine has.
    precision : {"double", "mixed"}
        Of the kernels; the reference is always double.
    tolerance : float
        eV/Å, rms force error of the compressed potential.
    report : callable
        Told, line by line, what is done and what came out.
    state : mapping of str to array, optional
        `Potential.state_arrays()` of an earlier potential, to get the very same again.

    Returns
    -------
    Potential

    Raises
    ------
    BackendError
        If there is no such backend.
    InputError
        If the tolerance cannot be met, or the structure does not fit the model.
    """
    if backend == "auto":
        backend = "cpu"
        report("backend: cpu (chosen automatically)")
    else:
        report(f"backend: {backend}")
    maker = BACKENDS.get(backend)
    if maker is None:
        raise BackendError(
            f"there is no backend {backend!r}; there are {', '.join(sorted(BACKENDS))} and auto"
        )
    return maker(Request(description, structure, precision, tolerance, report, state))


@backend("reference")
def _reference(request: Request) -> Potential:
    request.report("potential: the model as it was trained, in float64 (slow)")
    return ReferencePotential(request.description)


@backend("cpu")
def _cpu(request: Request) -> Potential:
    # Numba takes a second to import; the reference does without it.
    from fastdp.potential.compressed.compressed_model import CompressedModel
    from fastdp.potential.compressed.measurement import Atoms
    from fastdp.potential.compressed.potential import CompressedPotential
    from fastdp.potential.compressed.prepare import prepare

    if request.state:
        request.report("compressed potential: as in the checkpoint")
        return CompressedPotential(CompressedModel.from_arrays(request.state), request.precision)
    structure = request.structure
    atoms = Atoms(
        structure.positions,
        match_types(structure.symbols, request.description.type_names),
        structure.cell,
        structure.periodic,
    )
    model = prepare(request.description, atoms, request.tolerance, request.report)
    return CompressedPotential(model, request.precision)
