"""What the tests of the compressed potential share: structures, and both potentials on them."""

from pathlib import Path

import h5py
import numpy as np

from fastdp.model.readers.registry import read_model
from fastdp.potential.base import Evaluation
from fastdp.potential.compressed.measurement import Atoms
from fastdp.potential.compressed.tuning import compress


def random_atoms(generator, n_types, n_atoms=24, density=0.06, shortest=1.1, periodic=True, skew=0.15):
    """Atoms at random in a triclinic cell, none closer than `shortest`."""
    length = (n_atoms / density) ** (1 / 3)
    cell = length * (np.eye(3) + skew * np.tril(generator.uniform(-1, 1, (3, 3)), -1))
    positions = np.zeros((0, 3))
    images = np.array(np.meshgrid(*[(-1, 0, 1)] * 3)).reshape(3, -1).T @ cell
    while len(positions) < n_atoms:
        trial = generator.uniform(size=3) @ cell
        difference = positions[:, None, :] + images[None, :, :] - trial
        if len(positions) == 0 or np.linalg.norm(difference, axis=-1).min() > shortest:
            positions = np.vstack([positions, trial])
    types = np.arange(n_atoms, dtype=np.int32) % n_types
    return Atoms(positions, types, cell, np.full(3, periodic))


def frames(shared: Path, name: str):
    """Yield name and atoms of every frame of a reference file."""
    with h5py.File(shared / "reference" / f"{name}.h5") as file:
        for key, group in file.items():
            description = read_model(shared / model_path(name))
            index = {symbol: t for t, symbol in enumerate(description.type_names)}
            if "types" in group:
                types = group["types"][:]
            else:
                types = [index[s.decode()] for s in group["symbols"][:]]
            periodic = "cell" in group
            cell = group["cell"][:] if periodic else np.zeros((3, 3))
            yield (
                key,
                Atoms(group["positions"][:], np.array(types, dtype=np.int32), cell, np.full(3, periodic)),
            )


def model_path(name: str) -> Path:
    """Return where in the shared folder a model lies."""
    own = Path("models/own") / name
    third = Path("models/third_party") / name
    return third if name in {"copper.pb", "deeppot.pb", "deeppot-1.pb"} else own


_MADE: dict = {}


def compressed(path: Path, key: str, tolerance: float, make):
    """Return description and compressed model; `make` gives the atoms, `key` names them in the cache."""
    name = (path, key, tolerance)
    if name not in _MADE:
        description = read_model(path)
        _MADE[name] = (description, *compress(description, make(), tolerance))
    return _MADE[name]


def evaluate(potential, atoms: Atoms, skin=0.0) -> Evaluation:
    """Evaluate a potential from scratch."""
    result = Evaluation.empty(len(atoms.types))
    potential.evaluate(atoms.neighbours(potential.cutoff, skin), result)
    return result


def rms(values) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(np.square(values))))
