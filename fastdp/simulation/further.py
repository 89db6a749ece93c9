"""Committees and models of tensors: what a run evaluates besides the potential that drives it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fastdp.config.schema import Configuration
from fastdp.errors import ConfigurationError, InputError
from fastdp.model.readers.registry import read_model
from fastdp.neighbours.verlet_list import VerletList
from fastdp.potential.atomic_tensors import TensorModel
from fastdp.potential.base import Potential
from fastdp.potential.factory import make_potential
from fastdp.simulation.committee import Committee, CommitteeSettings
from fastdp.simulation.inputs import Inputs
from fastdp.simulation.outputs import FurtherFile
from fastdp.simulation.reporter import Reporter
from fastdp.simulation.tensor_table import TensorTable


@dataclass(frozen=True)
class FurtherModels:
    """Models besides the one that drives.

    Attributes
    ----------
    committee : tuple of Potential
    tensors : tuple of TensorModel
        One for each `[[tensor]]`.
    """

    committee: tuple[Potential, ...]
    tensors: tuple[TensorModel, ...]

    @property
    def cutoff(self) -> float:
        """The largest cutoff, Å; 0 if there is no model."""
        cutoffs = [potential.cutoff for potential in self.committee]
        return max((*cutoffs, *(model.cutoff for model in self.tensors)), default=0.0)


def read_further_models(inputs: Inputs, reporter: Reporter) -> FurtherModels:
    """Read the models of the committee and of tensors, and make their potentials.

    Parameters
    ----------
    inputs : Inputs
    reporter : Reporter
        Told how they were made.

    Raises
    ------
    InputError
        If a model cannot be used, or its atom types are not those of the driving model.
    """
    configuration, names = inputs.configuration, inputs.description.type_names
    table, potentials = configuration.potential, []
    for path in configuration.committee.models if configuration.committee is not None else ():
        description = read_model(path)
        _check_types(path, description.type_names, names)
        reporter.message(f"committee: {path}")
        potentials.append(
            make_potential(
                description,
                inputs.structure,
                backend=table.backend,
                precision=table.precision,
                tolerance=table.tolerance,
                report=reporter.message,
                frame_parameters=table.fparam if description.fitting.frame_parameters.size else None,
                atom_parameters=table.aparam if description.fitting.atom_parameters.size else None,
                terms=inputs.terms,
            )
        )
    tensors = []
    for entry in configuration.tensor:
        description = read_model(entry.model)
        _check_types(entry.model, description.type_names, names)
        reporter.message(
            f"{entry.file}: {description.fitting.kind} of {entry.model} every {entry.every} steps"
        )
        tensors.append(TensorModel(description, frame_parameters=entry.fparam, atom_parameters=entry.aparam))
    return FurtherModels(tuple(potentials), tuple(tensors))


def _check_types(path: str, found: Sequence[str], wanted: Sequence[str]) -> None:
    if tuple(found) != tuple(wanted):
        raise InputError(
            f"{path}: its atom types are {', '.join(found)}, those of the driving model "
            f"{', '.join(wanted)}; the "
            "models of one run need the same types in the same order"
        )


def further_files(
    configuration: Configuration, models: FurtherModels, neighbours: VerletList, reporter: Reporter
) -> list[FurtherFile]:
    """Return the files that further models write.

    Parameters
    ----------
    configuration : Configuration
    models : FurtherModels
    neighbours : VerletList
        Of the run.
    reporter : Reporter
        Told of frames above the committee's limit.
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
            stop=table.stop,
        )
        committee = Committee(
            directory / table.file, models.committee, neighbours, settings, reporter.warning
        )
        files.append(FurtherFile(committee, table.every, True, committee.lines))
    for entry, model in zip(configuration.tensor, models.tensors, strict=True):
        tensor = TensorTable(directory / entry.file, model, neighbours, atomic=entry.atomic)
        files.append(FurtherFile(tensor, entry.every))
    return files


def refuse_on_several_ranks(configuration: Configuration, n_ranks: int) -> None:
    """Refuse what only a serial run does.

    Raises
    ------
    ConfigurationError
        If there are further models and several ranks.
    """
    if n_ranks > 1 and (configuration.committee is not None or configuration.tensor):
        raise ConfigurationError(
            "the input file",
            [
                "[committee] and [[tensor]] are evaluated on one rank only; run without mpirun, or "
                "leave them out"
            ],
        )
