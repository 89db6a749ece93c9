"""What a checkpoint of a run holds, and whether it belongs to the run that is to be resumed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdp.dynamics.state import State
from fastdp.errors import CheckpointError
from fastdp.neighbours.verlet_list import VerletList
from fastdp.output.checkpoint import Checkpoint
from fastdp.potential.base import Evaluation
from fastdp.simulation.settings import Provenance, RunSettings, StageSettings


def state_of(checkpoint: Checkpoint) -> State:
    """Return the atoms as they were when `checkpoint` was written."""
    return State.from_arrays(checkpoint.sections["state"])


def potential_state_of(checkpoint: Checkpoint) -> dict[str, NDArray[Any]]:
    """Return what the potential asked to be kept, to make the very same one again."""
    return dict(checkpoint.sections["potential"])


def evaluation_to_arrays(evaluation: Evaluation) -> dict[str, NDArray[Any]]:
    """Take `evaluation` apart, exactly."""
    return {
        "atomic_energies": evaluation.atomic_energies,
        "forces": evaluation.forces,
        "virial": evaluation.virial,
        "energy": np.array(evaluation.energy),
        "virial_is_current": np.array(evaluation.virial_is_current),
    }


def load_evaluation(evaluation: Evaluation, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Fill `evaluation` with what `evaluation_to_arrays` took apart."""
    evaluation.atomic_energies[:] = arrays["atomic_energies"]
    evaluation.forces[:] = arrays["forces"]
    evaluation.virial[:] = arrays["virial"]
    evaluation.energy = float(arrays["energy"])
    evaluation.virial_is_current = bool(arrays["virial_is_current"])


def stage_record(stage: StageSettings) -> dict[str, Any]:
    """Return what the course of a stage depends on, for the header of a checkpoint."""
    return {"steps": stage.steps, "integrator": stage.integrator.name, **asdict(stage.integrator)}


def identity(provenance: Provenance, neighbours: VerletList) -> dict[str, Any]:
    """Return what must be the same for a run to be continued bit for bit, besides its stages."""
    return {
        "model (sha256)": provenance.model_sha256,
        "potential": provenance.potential,
        "structure": provenance.structure,
        "cutoff of the neighbour list (Å)": neighbours.cutoff + neighbours.skin,
        "skin (Å)": neighbours.skin,
    }


def check_same_run(
    checkpoint: Checkpoint, settings: RunSettings, provenance: Provenance, neighbours: VerletList
) -> None:
    """Refuse to continue another run than the one that `checkpoint` belongs to.

    Stages that are over must be as they were, the present one but for its number of steps, which may grow.
    Later stages, guards and output may change.

    Raises
    ------
    CheckpointError
        Names what differs.
    """
    header = checkpoint.header
    present = identity(provenance, neighbours)
    for name, before in header["identity"].items():
        if present.get(name) != before:
            raise CheckpointError(
                f"the checkpoint belongs to another run: {name} was {before!r}, and is {present.get(name)!r};"
                " restore the input, or start a new run"
            )
    index = header["stage"]
    if len(settings.stages) <= index:
        raise CheckpointError(
            f"the checkpoint is in stage {index + 1}, but the input has {len(settings.stages)};"
            " restore the input, or start a new run"
        )
    for number, (stage, before) in enumerate(zip(settings.stages, header["stages"], strict=False)):
        if number > index:
            break
        now = stage_record(stage)
        if number == index and now["steps"] >= header["stage_step"]:
            now["steps"] = before["steps"]
        # The kind of integrator first, for with it all else differs.
        for key in sorted(now.keys() | before.keys(), key=lambda name: (name != "integrator", name)):
            if now.get(key) != before.get(key):
                raise CheckpointError(
                    f"the checkpoint belongs to another run: {key} of stage {number + 1} was"
                    f" {before.get(key)!r}, and is {now.get(key)!r}; restore the input, or start a new run"
                )
