"""Making a potential by the name of its backend."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdp.errors import BackendError, UnsupportedModelError
from fastdp.model.description import DeepPotential, EnergyFitting
from fastdp.model.parameters import bind_parameters
from fastdp.model.suitability import why_not_compressed
from fastdp.potential.base import Potential, Precision
from fastdp.potential.batches import Parameters
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
    frame_parameters: Sequence[float] | None = None,
    atom_parameters: Sequence[float] | None = None,
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
    frame_parameters, atom_parameters : sequence of float, optional
        fparam, and aparam of all atoms alike, where the model takes them.

    Returns
    -------
    Potential

    Raises
    ------
    BackendError
        If there is no such backend, or it does not evaluate this model.
    UnsupportedModelError
        If the model does not give energies.
    InputError
        If the tolerance cannot be met, the structure does not fit the model, or parameters are missing.
    """
    description = with_parameters(description, frame_parameters, atom_parameters)
    reason = why_not_compressed(description)
    if backend == "auto" and reason is not None:
        backend = "reference"
        report(f"backend: reference (slow), because the model {reason}")
    elif backend == "auto":
        backend = "cpu"
        report("backend: cpu (chosen automatically)")
    else:
        report(f"backend: {backend}")
    maker = BACKENDS.get(backend)
    if maker is None:
        raise BackendError(
            f"there is no backend {backend!r}; there are {', '.join(sorted(BACKENDS))} and auto"
        )
    if reason is not None and backend != "reference":
        raise BackendError(
            f"{description.origin.path}: the backend {backend!r} does not evaluate it, because the "
            f"model {reason}; "
            'set backend = "reference"'
        )
    return maker(Request(description, structure, precision, tolerance, report, state))


def with_parameters(
    description: DeepPotential, frame: Sequence[float] | None, atom: Sequence[float] | None
) -> DeepPotential:
    """Return a model of energies with its parameters held at constant values.

    Parameters
    ----------
    description : DeepPotential
    frame, atom : sequence of float or None
        fparam, and aparam of all atoms alike; None for the model's defaults.

    Raises
    ------
    UnsupportedModelError
        If the model gives no energies.
    InputError
        If parameters are missing, or the model takes none.
    """
    if not isinstance(description.fitting, EnergyFitting):
        raise UnsupportedModelError(
            f"{description.origin.path}: gives no energies, but {description.fitting.kind}; such a "
            f"model cannot "
            "drive a run"
        )
    given = Parameters.for_model(
        description,
        None if frame is None else np.asarray(frame, dtype=np.float64),
        None if atom is None else np.asarray(atom, dtype=np.float64),
    )
    return bind_parameters(description, given.frame, given.atom[0])


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
