"""From the input file's tables to settings, and back to TOML."""

import tomllib
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from fastdp.config.load import load_input
from fastdp.config.render import resolved_text
from fastdp.config.schema import STAGES, Configuration
from fastdp.config.settings import run_settings, term_settings, velocity_settings
from fastdp.config.walk import all_tables, field_at
from fastdp.dynamics.settings import NoseHooverSettings, VelocitySettings, VelocityVerletSettings
from fastdp.potential.terms.settings import D3, ZBL, PairTable
from fastdp.simulation.settings import GuardSettings, OutputSettings

MINIMAL = {
    "version": 1,
    "potential": {"model": "/m.pb"},
    "structure": {"file": "/s.extxyz"},
    "stage": [
        {"ensemble": "nve", "steps": 5, "timestep_fs": 0.5},
        {"ensemble": "nvt", "name": "warm", "steps": 7, "timestep_fs": 1, "temperature_K": 300},
    ],
    "output": {"directory": "/out"},
}


def test_defaults_of_the_schema_are_those_of_the_settings() -> None:
    configuration = Configuration.model_validate(MINIMAL)
    settings = run_settings(configuration)
    assert settings.output == OutputSettings(directory=Path("/out"))
    assert settings.guards == GuardSettings()
    assert velocity_settings(configuration) == VelocitySettings()
    first, second = settings.stages
    assert (first.steps, first.name) == (5, "stage 1 (nve)")
    assert first.integrator == VelocityVerletSettings(timestep_fs=0.5)
    assert (second.steps, second.name) == (7, "warm")
    assert second.integrator == NoseHooverSettings(timestep_fs=1.0, temperature_K=300.0)


def test_values_reach_the_settings() -> None:
    data = MINIMAL | {
        "velocities": {
            "temperature_K": 10.0,
            "seed": 3,
            "exact_temperature": False,
            "remove_net_momentum": False,
        },
        "guards": {"maximum_temperature_K": 77.0},
        "stage": [
            {
                "ensemble": "nvt",
                "steps": 1,
                "timestep_fs": 2.0,
                "temperature_K": 3.0,
                "thermostat_time_fs": 4.0,
                "chain_length": 5,
                "sub_steps": 6,
                "suzuki_yoshida_order": 7,
            }
        ],
        "output": {
            "directory": "/out",
            "trajectory": {"file": "a.h5", "every": 2, "velocities": False},
            "thermo": {"file": "b.csv", "every": 3},
            "checkpoint": {"file": "c.h5", "every": 4},
        },
    }
    configuration = Configuration.model_validate(data)
    settings = run_settings(configuration)
    assert velocity_settings(configuration) == VelocitySettings(10.0, 3, False, False)
    assert settings.guards.maximum_temperature_K == 77.0
    assert settings.stages[0].integrator == NoseHooverSettings(2.0, 3.0, 4.0, 5, 6, 7)
    output = settings.output
    assert output.trajectory is not None
    assert output.thermo is not None
    assert (output.trajectory.file, output.trajectory.every, output.trajectory.velocities) == (
        "a.h5",
        2,
        False,
    )
    assert (output.thermo.file, output.thermo.every) == ("b.csv", 3)
    assert (output.checkpoint.file, output.checkpoint.every) == ("c.h5", 4)


def test_every_key_has_a_description_and_units_stand_in_names() -> None:
    for location, keys in all_tables():
        for name in keys:
            field = field_at((*location, name))
            assert field is not None
            assert field.description, f"{location} {name}"
    assert set(STAGES) == {"nve", "nvt"}


@given(
    text=st.text(min_size=1).filter(lambda text: "\x00" not in text),
    number=st.floats(min_value=1e-300, max_value=0.1),
)
def test_resolved_text_reads_back_the_same(text: str, number: float) -> None:
    configuration = Configuration.model_validate(
        MINIMAL
        | {
            "potential": {"model": text, "tolerance": number},
            "structure": {"file": "/s", "masses_u": {text: 1.0 + number}},
        }
    )
    assert Configuration.model_validate(tomllib.loads(resolved_text(configuration))) == configuration


def test_terms_are_written_back_and_translated(tmp_path) -> None:
    text = """\
version = 1
[potential]
model = "model.pb"
[potential.zbl]
inner_A = 0.5
outer_A = 1.0
nuclear_charges = { "O w" = 8 }
pairs = [["O w", "H"]]
[[potential.table]]
file = "a.tab"
[[potential.table]]
file = "b.tab"
elements = ["H", "O w"]
cutoff_A = 4.0
[potential.d3]
functional = "pbe"
damping = "zero"
[structure]
file = "start.extxyz"
[[stage]]
ensemble = "nve"
steps = 10
timestep_fs = 0.5
"""
    (tmp_path / "input.toml").write_text(text.replace("= 8 }", "= 8.0 }"))
    for name in ("model.pb", "start.extxyz"):
        (tmp_path / name).write_text("")
    configuration = load_input(tmp_path / "input.toml").configuration
    assert term_settings(configuration.potential) == (
        ZBL(0.5, 1.0, {"O w": 8.0}, [["O w", "H"]]),
        PairTable(str(tmp_path / "a.tab")),
        PairTable(str(tmp_path / "b.tab"), ["H", "O w"], 4.0),
        D3("pbe", "zero"),
    )
    again = Configuration.model_validate(tomllib.loads(resolved_text(configuration)))
    assert again == configuration
