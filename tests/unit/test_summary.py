from pathlib import Path

import pytest

from fastdp.model.readers.registry import read_model
from fastdp.model.summary import summarise


def test_summary_says_what_is_in_the_file(model_file):
    description = read_model(model_file("excluded_two_sided"))
    lines = dict(summarise(description))
    assert lines["file"].endswith("excluded_two_sided.pb")
    assert lines["atom types"] == "O, H"
    assert lines["descriptor"] == "se_e2_a, two-sided networks"
    assert lines["cutoff"] == "4.2 Å, smooth from 1.1 Å"
    assert lines["neighbours at most"] == "O 24, H 48"
    assert lines["embedding networks"] == "2 of 1 → 4-8-16 (tanh)"
    assert lines["fitting networks"] == "2 of 64 → 12-12-12-1 (tanh with timesteps)"
    assert lines["excluded pairs"] == "O–H"
    assert lines["shortest distance in training"] == "0.85 Å"
    assert lines["fingerprint"] == description.fingerprint


def test_parameters_are_counted_once(model_file):
    # Two networks 1-4-8-16 and two 64-12-12-12-1 with two timesteps.
    embedding = (4 + 4) + (32 + 8) + (128 + 16)
    fitting = (64 * 12 + 12) + 2 * (144 + 12 + 12) + 12 + 1
    lines = dict(summarise(read_model(model_file("one_sided"))))
    assert lines["parameters"] == str(2 * embedding + 2 * fitting)


@pytest.mark.parametrize(
    ("name", "on_gpu"),
    [
        ("se_e2_r", "yes"),
        (
            "se_e2_r with a shortcut",
            "no: the model has the descriptor se_e2_r and a first fitting layer that",
        ),
        ("se_e2_a and se_e2_r", "yes"),
        (
            "se_e3",
            "no: the model has a three-body descriptor (se_e3), for which fastdp has no kernels on a GPU",
        ),
        ("se_e2_a and se_e3", "no: the model has a three-body descriptor"),
    ],
)
def test_summary_says_what_evaluates_a_model(native_file, name, on_gpu):
    lines = dict(summarise(read_model(native_file(name))))
    assert lines["compressed"] == lines["over ranks"] == "yes"
    assert lines["on a GPU"].startswith(on_gpu)


@pytest.mark.parametrize(
    ("name", "on_gpu"), [("linear.pb", "yes"), ("srtab.pb", "no: the model gives way to")]
)
def test_summary_says_which_tables_a_gpu_evaluates(name, on_gpu):
    lines = dict(summarise(read_model(Path(__file__).parents[1] / "pair_terms" / name)))
    assert lines["on a GPU"].startswith(on_gpu)


def test_notes_and_vacuum_are_shown(model_file):
    labels = [label for label, _ in summarise(read_model(model_file("generation_0.12")))]
    assert labels.count("note") == 2
    assert dict(summarise(read_model(model_file("vacuum"))))["zero in vacuum"] == "O"


def test_energy_shifts_include_the_last_layer(model_file):
    description = read_model(model_file("generation_1.1"))
    shift = description.fitting.networks[0].layers[-1].bias[0]
    assert not description.fitting.bias.any()
    assert f"O {shift:.6g}" in dict(summarise(description))["energy shifts"]


def test_one_network_for_all_types_is_counted_once(model_file):
    """The type's own part of the first layer makes another network of it for each type."""
    formats = Path(__file__).resolve().parents[1] / "data/formats"
    # Embedding of types 2 → 3; 1-2-4-8 and 6-2-4-8 of the factors; 35-7-7-7-1 with two timesteps.
    types, networks = 2 * 3, (2 + 2) + (8 + 4) + (32 + 8) + (12 + 2) + (8 + 4) + (32 + 8)
    fitting = (35 * 7 + 7) + 2 * (49 + 7 + 7) + (7 + 1)
    for name in ("dpa1.pt", "dpa1.pth", "dpa1.dp", "dpa1.yaml"):
        lines = dict(summarise(read_model(formats / name)))
        assert lines["parameters"] == str(types + networks + fitting)
        assert lines["fitting networks"] == "1 of 32 → 7-7-7-1 (tanh with timesteps) for all types"
    one = dict(summarise(read_model(model_file("one_fitting_network"))))
    assert one["fitting networks"].startswith("1 of ")


def test_graphs_and_native_files_have_as_many_parameters():
    formats = Path(__file__).resolve().parents[1] / "data/formats"
    found = {
        name: dict(summarise(read_model(formats / f"se_e2_a{name}")))["parameters"]
        for name in (".pb", ".dp", ".yaml", ".pth", ".pt", "_compressed.dp")
    }
    assert len(set(found.values())) == 1, found
