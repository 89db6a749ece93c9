"""What `fastdp bench` counts and prints."""

import json

import numpy as np
import pytest
from cases import INPUT, write_case
from compressed import compressed, random_atoms

from fastdp.cli.main import main
from fastdp.performance.ceilings import Ceilings
from fastdp.performance.work import count_work
from fastdp.potential.compressed.clock import SECTIONS


@pytest.fixture(scope="module")
def model(model_file):
    def atoms():
        return random_atoms(np.random.default_rng(3), 2)

    return compressed(model_file("two_sided"), "two_sided", 1e-5, atoms)[1]


def test_counted_products_are_those_of_the_model(model):
    shares = np.array([0.25, 0.75])
    work = count_work(model, shares, 100.0, 80.0)
    dense = work.operations["projection"] + work.operations["layers"]
    axis = sum(
        share * 2 * 2 * 4 * centre.axis_matrix.size
        for share, centre in zip(shares, model.centres, strict=True)
        if centre.axis_matrix is not None
    )
    assert dense + axis == pytest.approx(2.0 * shares @ model.multiply_adds)
    # Hidden layers of 10 + 10 neurons, whatever is left of their matrices.
    assert work.activations == sum(
        share * sum(len(layer.bias) for layer in centre.layers if layer.activation != "linear")
        for share, centre in zip(shares, model.centres, strict=True)
    )


def test_floors_follow_the_ceilings(model):
    work = count_work(model, np.array([0.5, 0.5]), 100.0, 80.0)
    slow = Ceilings(products=1e9, blas=0.5e9, bandwidth=1e9, tanh_seconds=1e-9, cycles_per_second=1e9)
    fast = Ceilings(products=1e9, blas=4e9, bandwidth=4e9, tanh_seconds=0.25e-9, cycles_per_second=1e9)
    floors = work.floors(slow)
    assert set(floors) == set(SECTIONS)
    assert sum(floors.values()) == pytest.approx(4 * sum(work.floors(fast).values()))
    assert floors["layers"] == work.operations["layers"] / 1e9


def test_bench_prints_and_writes_every_part(model_file, tmp_path, capsys):
    text = INPUT.replace('"reference"', '"cpu"')
    path = write_case(tmp_path, model_file("two_sided"), text=text)
    assert main(["bench", str(path), "--seconds", "0.1", "--json", str(tmp_path / "bench.json")]) == 0
    printed = capsys.readouterr().out
    for name in SECTIONS:
        assert name in printed
    figures = json.loads((tmp_path / "bench.json").read_text())
    assert [part["precision"] for part in figures["parts"]] == ["double", "mixed"]
    for part in figures["parts"]:
        measured = sum(part["sections"].values())
        # The clocks see all of an evaluation but the sums over threads; the machine may be busy.
        assert 0.2 * part["evaluation"] < measured < 20 * part["evaluation"]
        assert 0.0 < sum(part["floors"].values()) < measured
    assert len(figures["skins"]) == 5


def test_bench_is_for_the_compressed_potential(model_file, tmp_path, capsys):
    path = write_case(tmp_path, model_file("two_sided"))
    assert main(["bench", str(path)]) != 0
    assert 'backend = "cpu"' in capsys.readouterr().err
