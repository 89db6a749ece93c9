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


def test_notes_and_vacuum_are_shown(model_file):
    labels = [label for label, _ in summarise(read_model(model_file("generation_0.12")))]
    assert labels.count("note") == 2
    assert dict(summarise(read_model(model_file("vacuum"))))["zero in vacuum"] == "O"


def test_energy_shifts_include_the_last_layer(model_file):
    description = read_model(model_file("generation_1.1"))
    shift = description.fitting.networks[0].layers[-1].bias[0]
    assert not description.fitting.bias.any()
    assert f"O {shift:.6g}" in dict(summarise(description))["energy shifts"]
