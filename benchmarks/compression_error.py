"""What each step of the compression costs and how far it takes the forces from the model as trained.

    python benchmarks/compression_error.py [copper water]

The compressed model is built on a nearly perfect start structure alone; the errors are on structures of
other kinds that it has not seen. Prints Markdown tables: multiply-adds of the dense part for one atom
(forwards and backwards) and the rms error of a force component, eV/Å.
"""

from __future__ import annotations

import sys
from pathlib import Path

import ase.io
import numpy as np
from ase.build import bulk, fcc111

from fastdp.errors import PairTooCloseError
from fastdp.model.description import DeepPotential
from fastdp.model.readers.registry import read_model
from fastdp.parallel.threads import thread_limits
from fastdp.potential.compressed.builder import Choice, Compressor
from fastdp.potential.compressed.measurement import Atoms, Probe, make_probe, regions, rms
from fastdp.potential.compressed.pair_kernels import DEGREE
from fastdp.potential.compressed.potential import CompressedPotential
from fastdp.potential.compressed.shortest import shortest_distances
from fastdp.potential.compressed.tuning import SEED, SOFTNESS_IN_CUTOFFS, compress
from fastdp.structure.ase_files import structure_from_atoms
from fastdp.structure.types import match_types

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"

FINE = (DEGREE, 384)
"""A basis whose own error does not show."""


def atoms_of(structure, description: DeepPotential) -> Atoms:
    """Take from ASE what neighbour search wants."""
    read = structure_from_atoms(structure)
    return Atoms(read.positions, match_types(read.symbols, description.type_names), read.cell, read.periodic)


def disordered(count: int, density: float, shortest: float, rng: np.random.Generator) -> Atoms:
    """Return atoms of one type at random, none closer than `shortest` Å; density in 1/Å³."""
    length = (count / density) ** (1.0 / 3.0)
    positions = np.zeros((0, 3))
    while len(positions) < count:
        trial = rng.uniform(0.0, length, 3)
        difference = positions - trial
        difference -= length * np.round(difference / length)
        if np.linalg.norm(difference, axis=1).min(initial=np.inf) > shortest:
            positions = np.vstack([positions, trial])
    return Atoms(positions, np.zeros(count, np.int32), np.eye(3) * length, np.ones(3, dtype=bool))


def isolated(atoms: Atoms) -> Atoms:
    """Return the same atoms without periodic images."""
    return Atoms(atoms.positions, atoms.types, np.zeros((3, 3)), np.zeros(3, dtype=bool))


def copper(rng: np.random.Generator) -> tuple[DeepPotential, Atoms, dict[str, Atoms]]:
    """Return the production copper model, a start structure, and structures of other kinds."""
    description = read_model(SHARED / "models" / "third_party" / "copper.pb")
    crystal = bulk("Cu", "fcc", 3.615, cubic=True)
    small = atoms_of(crystal.repeat(3), description)
    surface = fcc111("Cu", (5, 6, 6), vacuum=10.0, orthogonal=True)
    return (
        description,
        atoms_of(crystal.repeat(6), description).displaced(0.05, rng),
        {
            "hot, 0.15 Å": small.displaced(0.15, rng),
            "hot, 0.25 Å": small.displaced(0.25, rng),
            "9 % compressed": small.strained(-0.031).displaced(0.1, rng),
            "expanded 5 %": small.strained(0.05).displaced(0.1, rng),
            "liquid-like": disordered(108, 0.079, 1.95, rng),
            "dense disordered": disordered(100, 0.0845, 2.0, rng),
            "surface": atoms_of(surface, description).displaced(0.1, rng),
            "cluster": isolated(disordered(60, 0.08, 2.05, rng)),
        },
    )


def water(rng: np.random.Generator) -> tuple[DeepPotential, Atoms, dict[str, Atoms]]:
    """Return the shipped water model, its start structure, and structures of other kinds."""
    description = read_model(ROOT / "inputs" / "water" / "water.pb")
    start = atoms_of(ase.io.read(ROOT / "inputs" / "water" / "start.extxyz"), description)
    return (
        description,
        start,
        {
            "hot, 0.1 Å": start.displaced(0.1, rng),
            "hot, 0.15 Å": start.displaced(0.15, rng),
            "6 % shorter cell": start.strained(-0.06),
            "10 % longer cell": start.strained(0.10),
            "droplet": isolated(start),
        },
    )


def report(name: str, description: DeepPotential, start: Atoms, structures: dict[str, Atoms]) -> None:
    """Print the table of one model."""
    probes = [
        make_probe(kind, atoms, description, np.arange(len(atoms.types)))
        for kind, atoms in structures.items()
    ]
    compressor = Compressor(
        description,
        regions(start, description, np.random.default_rng(SEED)),
        shortest_distances(description, [probe.neighbours for probe in probes]),
        SOFTNESS_IN_CUTOFFS * description.cutoff,
        SEED,
    )
    print(f"\n{name}\n\n| | multiply-adds | {' | '.join(probe.name for probe in probes)} |")
    print("|---" * (len(probes) + 2) + "|")
    print(f"| rms force | | {' | '.join(f'{rms(probe.forces):.2f}' for probe in probes)} |")
    for threshold in (1e-7, 1e-8, 1e-9):
        for layers in (0.0, 1e-4, 1e-5, 1e-6):
            choice = Choice(*FINE, threshold, layers)
            model = compressor.compress(choice)
            ranks = "/".join(str(centre.rank) for centre in model.centres)
            label = f"{ranks} channels, " + (f"layers to {layers:.0e}" if layers else "layers whole")
            row(label, model, probes)
    for size in (96, 128, 160, 192):
        row(f"… 1e-06, N = {size}", compressor.compress(Choice(DEGREE, size, 1e-9, 1e-6)), probes)
    chosen, _ = compress(description, start, 1e-5)
    row("as chosen for 1e-5 eV/Å on the start structure", chosen, probes)


def row(label: str, model, probes: list[Probe]) -> None:
    """Print the errors of one model."""
    potential = CompressedPotential(model)
    cost = "/".join(f"{count / 1e3:.0f} k" for count in model.multiply_adds)
    errors = " | ".join(error_of(potential, probe) for probe in probes)
    print(f"| {label} | {cost} | {errors} |", flush=True)


def error_of(potential: CompressedPotential, probe: Probe) -> str:
    """Return the error as text, or that the structure lies outside the tables."""
    try:
        return f"{probe.error(potential):.1e}"
    except PairTooCloseError:
        return "refused"


def main() -> None:
    """Print the tables of the models asked for."""
    makers = {"copper": copper, "water": water}
    with thread_limits():
        for name in sys.argv[1:] or makers:
            report(name, *makers[name](np.random.default_rng(7)))


if __name__ == "__main__":
    main()
