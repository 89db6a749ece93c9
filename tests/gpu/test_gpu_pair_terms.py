"""Further terms of pairs on a GPU against their specification, alone, in runs, and as users ask for them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from compressed import evaluate
from gpu_cases import at_random, compressed_case, slab, tiny_cell
from term_cases import smooth_table

from fastdp.gpu.device.base import Device
from fastdp.gpu.potential import CudaPotential
from fastdp.potential.base import Evaluation
from fastdp.potential.compressed.compressed_model import CompressedModel
from fastdp.potential.compressed.potential import CompressedPotential
from fastdp.potential.sum import SumPotential
from fastdp.potential.terms.base import PairTerm
from fastdp.potential.terms.pair_sum import PairSum
from fastdp.potential.terms.registry import make_terms
from fastdp.potential.terms.settings import ZBL, PairTable

SKIN = 0.6
NAMES = ("O", "H")


@pytest.fixture
def terms(tmp_path: Path) -> tuple[PairTerm, ...]:
    """A repulsion of some pairs of types, and two tables of all, one reaching farther than the model."""
    return make_terms(
        [
            ZBL(0.9, 2.8, pairs=[("O", "O"), ("H", "O")]),
            PairTable(smooth_table(tmp_path / "near.tab", 2)),
            PairTable(smooth_table(tmp_path / "far.tab", 2, end=5.1), ["H", "O"]),
        ],
        NAMES,
    )


def specified(model: CompressedModel, terms: Sequence[PairTerm]) -> SumPotential:
    return SumPotential(CompressedPotential(model), [PairSum(terms)])


def assert_alike(found: Evaluation, expected: Evaluation) -> None:
    """The same sums in another order."""
    largest = np.abs(expected.forces).max()
    np.testing.assert_allclose(found.forces, expected.forces, rtol=0, atol=1e-12 * largest)
    np.testing.assert_allclose(found.virial, expected.virial, atol=1e-11 * np.abs(expected.virial).max())
    np.testing.assert_allclose(found.atomic_energies, expected.atomic_energies, rtol=1e-12, atol=1e-12)
    assert found.energy == pytest.approx(expected.energy, rel=1e-12)


STRUCTURES = {
    "periodic": lambda: at_random(2, 6),
    "open": lambda: at_random(2, 6, periodic=False),
    "open along one direction": slab,
    "cell shorter than the cutoff": tiny_cell,
}


@pytest.mark.parametrize("structure", STRUCTURES)
def test_terms_beside_a_model(device: Device, terms: tuple[PairTerm, ...], structure: str) -> None:
    _, _, model = compressed_case("open boundaries", 1e-4)
    atoms = STRUCTURES[structure]()
    gpu = CudaPotential(model, device, terms=terms)
    assert gpu.cutoff == terms[2].cutoff > model.cutoff
    expected = evaluate(specified(model, terms), atoms, SKIN)
    found = evaluate(gpu, atoms, SKIN)
    assert_alike(found, expected)
    alone = evaluate(CompressedPotential(model), atoms, SKIN)
    # Each would be missed.
    for term in terms:
        part = evaluate(specified(model, [term]), atoms, SKIN)
        assert abs(part.energy - alone.energy) > 1e-3
