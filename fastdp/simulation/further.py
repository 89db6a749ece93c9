"""Committees and models of tensors: what a run evaluates besides the potential that drives it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from fastdp.config.schema import Configuration
from fastdp.errors import InputError, UnsupportedModelError
from fastdp.model.description import DeepPotential
from fastdp.model.readers.registry import read_model
from fastdp.model.suitability import why_not_on_gpu
from fastdp.neighbours.verlet_list import VerletList
from fastdp.parallel.communicator import SERIAL, Communicator
from fastdp.potential.atomic_tensors import TensorModel
from fastdp.potential.base import Potential
from fastdp.potential.factory import make_potential, with_parameters
from fastdp.potential.terms.addends import terms_not_on_gpu
from fastdp.potential.terms.base import Term
from fastdp.simulation.candidate_frames import load_dpdata
from fastdp.simulation.committee import Committee, CommitteeSettings
from fastdp.simulation.inputs import Inputs
from fastdp.simulation.members import Members
from fastdp.simulation.outputs import FurtherFile
from fastdp.simulation.reporter import Reporter
from fastdp.simulation.tensor_table import TensorTable
from fastdp.structure.structure import Structure

State = Mapping[str, NDArray[Any]]
"""What a potential is made of again: its `state_arrays`."""


@dataclass(frozen=True)
class FurtherDescriptions:
    """Models besides the one that drives, as they were read.

    Attributes
    ----------
    committee : tuple of DeepPotential
        With their parameters held at the values of the input file.
    tensors : tuple of DeepPotential
        One for each `[[tensor]]`.
    terms : tuple of Term
        Added to each model of the committee, as to the one that drives.
    """

    committee: tuple[DeepPotential, ...]
    tensors: tuple[DeepPotential, ...]
    terms: tuple[Term, ...] = ()

    @property
    def cutoff(self) -> float:
        """The largest cutoff, Å; 0 if there is no model."""
        return max((model.cutoff for model in (*self.committee, *self.tensors)), default=0.0)


@dataclass(frozen=True)
class FurtherModels:
    """Models besides the one that drives, ready to be evaluated.

    Attributes
    ----------
    committee : tuple of Potential
    tensors : tuple of TensorModel
        One for each `[[tensor]]`.
    cutoff : float
        The largest, Å; 0 if there is no model.
    """

    committee: tuple[Potential, ...]
    tensors: tuple[TensorModel, ...]
    cutoff: float


def read_further_models(inputs: Inputs, reporter: Reporter, *, ranks: int = 1) -> FurtherDescriptions:
    """Read the models of the committee and of tensors.

    Parameters
    ----------
    inputs : Inputs
    reporter : Reporter
        Told which models there are.
    ranks : int
        That the run is for.

    Returns
    -------
    FurtherDescriptions

    Raises
    ------
    InputError
        If a model cannot be used, or its atom types are not those of the driving model; or what saves
        frames is not installed.
    """
    configuration, names = inputs.configuration, inputs.description.type_names
    table, committee, tensors = configuration.potential, [], []
    if configuration.committee is not None and configuration.committee.save_frames is not None:
        load_dpdata()
    for path in configuration.committee.models if configuration.committee is not None else ():
        description = read_model(path)
        _check_types(path, description.type_names, names)
        committee.append(
            with_parameters(
                description,
                table.fparam if description.fitting.frame_parameters.size else None,
                table.aparam if description.fitting.atom_parameters.size else None,
            )
        )
    for entry in configuration.tensor:
        description = read_model(entry.model)
        _check_types(entry.model, description.type_names, names)
        reporter.message(
            f"{entry.file}: {description.fitting.kind} of {entry.model} every {entry.every} steps"
        )
        if ranks > 1 and getattr(description.descriptor, "depends_on_first_atom", False):
            raise UnsupportedModelError(
                f"{entry.model}: its empty slots have the type of the first atom, which only one rank has; "
                "run on one rank, or leave this [[tensor]] out"
            )
        tensors.append(description)
    return FurtherDescriptions(tuple(committee), tuple(tensors), tuple(inputs.terms))


def make_further_models(
    descriptions: FurtherDescriptions,
    configuration: Configuration,
    structure: Structure | None,
    *,
    reporter: Reporter,
    states: Sequence[State] | None = None,
) -> FurtherModels:
    """Make the potentials of further models.

    Those of a committee are evaluated where the driving model is, or else by the fastest backend that can.

    Parameters
    ----------
    descriptions : FurtherDescriptions
    configuration : Configuration
    structure : Structure or None
        That compressed potentials are made for; None with `states`.
    reporter : Reporter
        Told how they were made.
    states : sequence of mapping, optional
        Of the committee's potentials as rank 0 has made them, for other ranks.
    """
    table, potentials = configuration.potential, []
    for number, description in enumerate(descriptions.committee):
        path = description.origin.path
        reporter.message(f"committee: {path}")
        backend = table.backend
        elsewhere = terms_not_on_gpu(descriptions.terms) or why_not_on_gpu(description) is not None
        if backend == "cuda" and elsewhere:
            backend = "auto"  # the fastest that evaluates this one
        potentials.append(
            make_potential(
                description,
                # Only a potential without a state is made from atoms, and then does not look at them.
                structure,  # type: ignore[arg-type]
                backend=backend,
                precision=table.precision,
                tolerance=table.tolerance,
                gpu_products=table.gpu_products,
                gpu_network=table.gpu_network,
                shortest=table.shortest_A,
                report=reporter.message,
                state=None if states is None else states[number],
                terms=descriptions.terms,
            )
        )
    tensors = tuple(
        TensorModel(description, frame_parameters=entry.fparam, atom_parameters=entry.aparam)
        for entry, description in zip(configuration.tensor, descriptions.tensors, strict=True)
    )
    return FurtherModels(tuple(potentials), tensors, descriptions.cutoff)


def make_further_models_together(
    inputs: Inputs | None,
    configuration: Configuration,
    communicator: Communicator,
    reporter: Reporter,
    limits: Callable[[], Any],
) -> FurtherModels:
    """Make the potentials of further models on several ranks, all of which call this together.

    Parameters
    ----------
    inputs : Inputs or None
        On rank 0, which reads and compresses.
    configuration : Configuration
    communicator : Communicator
    reporter : Reporter
    limits : callable
        Returns a context in which rank 0 has the cores of the others, which wait.

    Raises
    ------
    InputError
        On all ranks, if a model cannot be used.
    """
    if configuration.committee is None and not configuration.tensor:
        return FurtherModels((), (), 0.0)

    def prepare() -> tuple[FurtherModels, Any]:
        assert inputs is not None
        descriptions = read_further_models(inputs, reporter, ranks=communicator.size)
        with limits():
            made = make_further_models(descriptions, configuration, inputs.structure, reporter=reporter)
        return made, (descriptions, [potential.state_arrays() for potential in made.committee])

    prepared = communicator.on_root(prepare)
    models, shared = prepared if prepared is not None else (None, None)
    descriptions, states = communicator.broadcast(shared)
    if models is not None:
        return models
    return make_further_models(descriptions, configuration, None, reporter=reporter, states=states)


def _check_types(path: str, found: Sequence[str], wanted: Sequence[str]) -> None:
    if tuple(found) != tuple(wanted):
        raise InputError(
            f"{path}: its atom types are {', '.join(found)}, those of the driving model "
            f"{', '.join(wanted)}; the models of one run need the same types in the same order"
        )


def further_files(
    configuration: Configuration,
    models: FurtherModels,
    neighbours: VerletList,
    n_atoms: int,
    reporter: Reporter,
    communicator: Communicator = SERIAL,
) -> list[FurtherFile]:
    """Return the files that further models write.

    Parameters
    ----------
    configuration : Configuration
    models : FurtherModels
    neighbours : VerletList
        Of the run.
    n_atoms : int
        On all ranks.
    reporter : Reporter
        Told of frames above the committee's limit.
    communicator : Communicator
        Ranks that have other atoms.
    """
    directory = Path(configuration.output.directory)
    files = []
    table = configuration.committee
    if table is not None:
        settings = CommitteeSettings(
            every=table.every,
            file=table.file,
            atomic=table.atomic,
            relative_force=table.relative_force,
            relative_virial=table.relative_virial,
            limit=table.limit,
            frames=None if table.save_frames is None else directory / table.save_frames,
            above_limit=table.above_limit,
        )
        members = Members(table.models, models.committee, neighbours, communicator)
        committee = Committee(
            directory / table.file, members, n_atoms, settings, reporter.warning, communicator
        )
        files.append(
            FurtherFile(
                committee,
                table.every,
                needs_virial=True,
                measure=committee.measure,
                act=committee.act,
                reason_to_pause=committee.reason_to_pause,
                closing=committee.lines,
            )
        )
    for entry, model in zip(configuration.tensor, models.tensors, strict=True):
        tensor = TensorTable(
            directory / entry.file, model, neighbours, atomic=entry.atomic, communicator=communicator
        )
        files.append(FurtherFile(tensor, entry.every, measure=tensor.measure))
    return files
