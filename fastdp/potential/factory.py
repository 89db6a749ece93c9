"""Making a potential by the name of its backend."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from fastdp.errors import BackendError, CheckpointError, UnsupportedModelError
from fastdp.model.description import DeepPotential, EnergyFitting
from fastdp.model.parameters import bind_parameters
from fastdp.model.suitability import has_products, why_not_compressed, why_not_on_gpu
from fastdp.potential.base import Potential, Precision
from fastdp.potential.batches import Parameters
from fastdp.potential.options import check_options
from fastdp.potential.reference import ReferencePotential
from fastdp.potential.sum import with_addends
from fastdp.potential.terms.addends import make_addends, pair_terms, terms_not_on_gpu
from fastdp.potential.terms.base import Term
from fastdp.potential.terms.own import without_added_tables
from fastdp.structure.structure import Structure
from fastdp.structure.types import match_types

if TYPE_CHECKING:
    from fastdp.gpu.device.base import Device
    from fastdp.gpu.layout import Network, Products
    from fastdp.gpu.trial import Way
    from fastdp.potential.compressed.compressed_model import CompressedModel
    from fastdp.potential.compressed.measurement import Atoms


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
    gpu_products : {"auto", "full", "tf32", "tf32x3"}
        How a GPU multiplies float32 matrices; "auto" the faster of "full" and "tf32x3" on the card.
    gpu_network : {"auto", "layers", "fused"}
        How a GPU evaluates fitting networks; "auto" the faster on the card.
    report : callable
        Told what is done and what came out.
    state : mapping of str to array or None
        `Potential.state_arrays()` of the potential to make again; None for a new one.
    shortest : float or None
        Å; the tables of a compressed potential begin no farther than this.
    terms : tuple of Term
        Added to the model's energy: for potentials that evaluate them themselves.
    """

    description: DeepPotential
    structure: Structure
    precision: Precision
    tolerance: float
    gpu_products: Products | Literal["auto"]
    gpu_network: Network | Literal["auto"]
    report: Callable[[str], None]
    state: Mapping[str, NDArray[Any]] | None
    shortest: float | None = None
    terms: tuple[Term, ...] = ()


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
    gpu_products: Products | Literal["auto"] = "auto",
    gpu_network: Network | Literal["auto"] = "auto",
    report: Callable[[str], None] = lambda _: None,
    state: Mapping[str, NDArray[Any]] | None = None,
    frame_parameters: Sequence[float] | None = None,
    atom_parameters: Sequence[float] | None = None,
    terms: Sequence[Term] = (),
    shortest: float | None = None,
    ranks: int = 1,
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
    gpu_products : {"auto", "full", "tf32", "tf32x3"}
        How a GPU multiplies float32 matrices; "auto" the faster of "full" and "tf32x3" on the card.
    gpu_network : {"auto", "layers", "fused"}
        How a GPU evaluates fitting networks: layer by layer, or each by one kernel on tensor cores; "auto"
        the faster on the card.
    report : callable
        Told, line by line, what is done and what came out.
    state : mapping of str to array, optional
        `Potential.state_arrays()` of an earlier potential, to get the very same again.
    frame_parameters, atom_parameters : sequence of float, optional
        fparam, and aparam of all atoms alike, where the model takes them.
    terms : sequence of Term
        Added to the model's energy, see `fastdp.potential.terms.registry.make_terms`.
    shortest : float, optional
        Å; the tables of a compressed potential begin no farther than this, for runs in which atoms collide.
    ranks : int
        That share the structure.

    Returns
    -------
    Potential

    Raises
    ------
    BackendError
        If there is no such backend here, or it does not evaluate this model.
    UnsupportedModelError
        If the model does not give energies.
    InputError
        If an option has no such value, the tolerance cannot be met, the structure does not fit the model, or
        parameters are missing.
    """
    check_options(precision=precision, tolerance=tolerance, shortest=shortest)
    description = with_parameters(description, frame_parameters, atom_parameters)
    unsuitable = why_not_compressed(description)
    if unsuitable is None and backend != "reference":
        # Tables that are simply added to the model are terms like any other.
        description, own = without_added_tables(description)
        terms = (*own, *terms)
    if backend == "auto" and unsuitable is not None:
        backend = "reference"
        report(f"backend: reference (slow), because the model {unsuitable}")
    elif backend == "auto":
        backend, reason = _fastest_backend(description, terms)
        report(f"backend: {backend} (chosen automatically: {reason})")
    else:
        report(f"backend: {backend}")
    maker = BACKENDS.get(backend)
    if maker is None:
        raise BackendError(
            f"there is no backend {backend!r}; there are {', '.join(sorted(BACKENDS))} and auto"
        )
    if backend == "cuda" and unsuitable is None:
        unsuitable = why_not_on_gpu(description)
    if unsuitable is not None and backend != "reference":
        raise BackendError(
            f"{description.origin.path}: the backend {backend!r} does not evaluate it, because the model "
            f'{unsuitable}; set backend = "auto", which takes the fastest that does'
        )
    left = terms_not_on_gpu(terms) if backend == "cuda" else ()
    if left:
        raise BackendError(
            f'backend = "cuda" makes whole steps on the card, and {left[0].describe()} has no kernels there: '
            'use backend = "cpu", or "auto", which takes it'
        )
    # On a card, the terms are part of the potential that makes the steps.
    addends = [] if backend == "cuda" else make_addends(terms, specified=backend == "reference", ranks=ranks)
    for term in terms:
        report(f"further term: {term.describe()}")
    request = Request(
        description,
        structure,
        precision,
        tolerance,
        gpu_products,
        gpu_network,
        report,
        state,
        shortest,
        tuple(terms),
    )
    potential = with_addends(maker(request), addends)
    potential.backend = backend
    return potential


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
    if request.description.spin is not None:
        from fastdp.potential.spins import spin_potential

        request.report("spins: those of the structure, held as they are")
        return spin_potential(request.description, request.structure, request.state)
    return ReferencePotential(request.description)


@backend("cpu")
def _cpu(request: Request) -> Potential:
    # Numba takes a second to import; the reference does without it.
    from fastdp.potential.compressed.potential import CompressedPotential
    from fastdp.potential.switched import SwitchedPotential

    meanwhile = request.precision == "mixed" and has_products(request.description)
    model = _compressed_model(request, meanwhile=meanwhile)
    potential, part = CompressedPotential(model, request.precision), request.description.pair_part
    return potential if part is None else SwitchedPotential(potential, part)


@backend("cuda")
def _cuda(request: Request) -> Potential:
    from fastdp.gpu.device.choice import open_device

    # Before minutes go into a potential that nothing can evaluate.
    device = open_device()
    request.report(f"device: {device.name}")
    from fastdp.gpu.potential import CudaPotential

    model = _compressed_model(request)
    products, network = _way(request, device, model)
    terms = pair_terms(request.terms)
    potential = CudaPotential(model, device, request.precision, products, terms, network)
    # Ranks that get the potential from another one have no structure.
    if products == "tf32" and request.structure is not None:
        from fastdp.gpu.accuracy import force_difference

        error = force_difference(potential, CudaPotential(model, device, terms=terms), _atoms(request))
        request.report(
            f"force error of products in TF32: {error:.1e} eV/Å rms on the start structure, besides that of "
            "the compressed potential"
        )
    return potential


def _way(request: Request, device: Device, model: CompressedModel) -> Way:
    """Return how networks are evaluated: as in the run that goes on, as asked for, or the fastest way."""
    from fastdp.gpu.layout import Network, Products
    from fastdp.gpu.potential import DTYPES, NETWORK, PRODUCTS
    from fastdp.gpu.trial import candidates, choose_way

    dtype = DTYPES[request.precision]
    products, network = request.gpu_products, request.gpu_network
    if request.state:
        # Runs from before there was a choice have none in their checkpoints.
        if products == "auto":
            products = cast("Products", _known(request.state, PRODUCTS, "full", get_args(Products)))
        if network == "auto":
            network = cast("Network", _known(request.state, NETWORK, "layers", get_args(Network)))
    ways = candidates(device, dtype, products, network)
    if len(ways) == 1:
        if request.state and "auto" in (request.gpu_products, request.gpu_network):
            request.report(f"fitting networks on the GPU: {ways[0]}, as in the checkpoint")
        return ways[0]
    types = match_types(request.structure.symbols, request.description.type_names)
    counts = np.bincount(types, minlength=model.n_types).tolist()
    chosen, seconds = choose_way(device, model, dtype, ways, counts, request.report)
    times = "; ".join(f"{way}: {1e3 * time:.3g} ms" for way, time in seconds.items())
    same = f'gpu_network = "{chosen.network}"'
    if request.precision == "mixed":
        same += f', gpu_products = "{chosen.products}"'
    request.report(
        f"fitting networks on the GPU: {chosen}, by a trial of those of a step ({times}); {same} asks for "
        "the same"
    )
    return chosen


def _known(state: Mapping[str, NDArray[Any]], name: str, before: str, choices: tuple[str, ...]) -> str:
    found = bytes(state.get(name, np.array(before.encode()))[()]).decode(errors="replace")
    if found not in choices:
        raise CheckpointError(f"the checkpoint has {name} = {found!r}, which is unknown")
    return found


def _compressed_model(request: Request, *, meanwhile: bool = False) -> CompressedModel:
    """Return the model compressed for the structure, or that of the state.

    If `meanwhile`, float32 kernels are compiled at the same time.
    """
    from fastdp.potential.compressed.compressed_model import CompressedModel
    from fastdp.potential.compressed.meanwhile import compiled_meanwhile
    from fastdp.potential.compressed.prepare import prepare

    if request.state:
        request.report("compressed potential: as in the checkpoint")
        return CompressedModel.from_arrays(request.state)
    part, nearest = request.description.pair_part, request.shortest
    if part is not None:
        nearest = min(part.switch.network_ends, np.inf if nearest is None else nearest)
    activations = {layer.activation for net in request.description.fitting.networks for layer in net.layers}
    return prepare(
        replace(request.description, pair_part=None),
        _atoms(request),
        request.tolerance,
        request.report,
        (lambda: compiled_meanwhile(sorted(activations))) if meanwhile else nullcontext,
        nearest,
    )


def _atoms(request: Request) -> Atoms:
    """Return the structure as the compressed potential takes it."""
    from fastdp.potential.compressed.measurement import Atoms

    structure = request.structure
    return Atoms(
        structure.positions,
        match_types(structure.symbols, request.description.type_names),
        structure.cell,
        structure.periodic,
    )


def _fastest_backend(description: DeepPotential, terms: Sequence[Term]) -> tuple[str, str]:
    """Return the backend that "auto" means on this machine for a model that can be compressed, and why."""
    left = terms_not_on_gpu(terms)
    if left:
        return "cpu", f"a GPU has no kernels for {left[0].describe()}"
    unsuitable = why_not_on_gpu(description)
    if unsuitable is not None:
        return "cpu", f"a GPU does not evaluate it, because the model {unsuitable}"
    from fastdp.gpu.device.choice import why_no_card

    reason = why_no_card()
    return ("cuda", "there is a GPU") if reason is None else ("cpu", reason)
