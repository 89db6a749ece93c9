"""Write models with tables of pairs, and what DeePMD-kit says of them (run with its Python; 1 minute).

`srtab.pb` (`use_srtab`) and `linear.pb` are trained for two steps by TensorFlow, `zbl.dp` and `linear.dp` are
DeePMD-kit's native models with random weights. `answers.json` holds frames, energies, and TensorFlow's forces
and virials.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from deepmd.dpmodel.atomic_model.dp_atomic_model import DPAtomicModel
from deepmd.dpmodel.atomic_model.pairtab_atomic_model import PairTabAtomicModel
from deepmd.dpmodel.descriptor.dpa1 import DescrptDPA1
from deepmd.dpmodel.fitting.ener_fitting import EnergyFittingNet
from deepmd.dpmodel.model.dp_linear_model import LinearEnergyModel
from deepmd.dpmodel.model.dp_zbl_model import DPZBLModel
from deepmd.dpmodel.utils.serialization import save_dp_model

HERE = Path(__file__).parent
TYPES = ["O", "H"]
CELL = np.array([[6.1, 0.0, 0.0], [0.8, 6.4, 0.0], [-0.5, 0.3, 6.9]])
SWITCH = {"sw_rmin": 0.8, "sw_rmax": 1.0, "smin_alpha": 0.1}


def table(folder: Path) -> Path:
    """Write a table that is continued to a cutoff of 4 Å."""
    r = 0.1 + 0.02 * np.arange(161)
    tail = np.clip(1.0 - r / 3.3, 0.0, None) ** 3
    columns = [(a * np.exp(-1.5 * r) / r + 0.05 * a) * tail for a in (30.0, 8.0, 2.0)]
    path = folder / "short.tab"
    np.savetxt(path, np.column_stack([r, *columns]), fmt="%.15g")
    return path


def frames() -> dict[str, dict]:
    """Return twelve atoms whose bonds lie beyond, within and below the switch."""
    generator = np.random.default_rng(11)
    molecule = np.array([[0.0, 0.0, 0.0], [0.99, 0.1, 0.0], [-0.25, 0.97, 0.1]])
    corners = np.array([[x, y, 0.6 + 3.0 * (x > 2)] for x in (0.5, 3.5) for y in (0.4, 3.7)])
    noise = generator.normal(0.0, 0.02, (12, 3))
    found = {}
    for name, scale, periodic in (
        ("bonds", 1.0, True), ("switching", 0.88, True), ("table", 0.7, True), ("open", 0.9, False),
    ):  # fmt: skip
        positions = (corners[:, None, :] + scale * molecule).reshape(-1, 3) + noise
        found[name] = {
            "symbols": ["O", "H", "H"] * 4,
            "positions": positions.tolist(),
            "cell": CELL.tolist() if periodic else None,
        }
    return found


# DeePMD-kit 3.2 calls data_stat of pair tables with an argument that it does not take.
DRIVER = """
import sys
from deepmd.tf.model.pairtab import PairTabModel
PairTabModel.data_stat = lambda self, data, stat_file_path=None: None
from deepmd.tf.entrypoints.main import main
main(sys.argv[1:])
"""


def train(folder: Path) -> None:
    """Train and freeze the models of TensorFlow."""
    generator = np.random.default_rng(3)
    data = folder / "data" / "set.000"
    data.mkdir(parents=True)
    (folder / "data" / "type.raw").write_text("\n".join(["0", "1", "1"] * 4))
    (folder / "data" / "type_map.raw").write_text("O\nH\n")
    positions = np.array(frames()["bonds"]["positions"]).ravel()
    np.save(data / "coord.npy", positions + generator.normal(0.0, 0.01, (4, 36)))
    np.save(data / "box.npy", np.tile(CELL.ravel(), (4, 1)))
    np.save(data / "energy.npy", -1000.0 + generator.normal(0.0, 1.0, 4))
    np.save(data / "force.npy", generator.normal(0.0, 1.0, (4, 36)))
    network = {
        "type_map": TYPES,
        "descriptor": {
            "type": "se_e2_a", "sel": [20, 40], "rcut_smth": 1.0, "rcut": 4.0, "neuron": [3, 6],
            "axis_neuron": 2, "seed": 1, "precision": "float64",
        },
        "fitting_net": {"neuron": [8, 8], "resnet_dt": True, "seed": 1, "precision": "float64"},
    }  # fmt: skip
    tab_file = str(table(folder))
    pairs = {"type": "pairtab", "tab_file": tab_file, "rcut": 5.0, "sel": 120, "type_map": TYPES}
    models = {
        "srtab": network | {"use_srtab": tab_file} | SWITCH,
        "linear": {
            "type": "linear_ener",
            "type_map": TYPES,
            "weights": [0.7, -1.5],
            # The names of the types are taken from the first.
            "models": [network | {"type": "standard"}, pairs],
        },
    }
    for name, model in models.items():
        settings = {
            "model": model,
            "learning_rate": {"type": "exp", "decay_steps": 5, "start_lr": 0.001, "stop_lr": 1e-4},
            "loss": {"type": "ener"},
            "training": {
                "training_data": {"systems": [str(folder / "data")], "batch_size": 1},
                "numb_steps": 2, "seed": 1, "disp_freq": 1, "save_freq": 2,
            },
        }  # fmt: skip
        within = folder / name
        within.mkdir()
        (within / "input.json").write_text(json.dumps(settings))
        for command in (["train", "input.json"], ["freeze", "-o", f"{name}.pb"]):
            subprocess.run(
                [sys.executable, "-c", DRIVER, *command], cwd=within, check=True, capture_output=True
            )
        shutil.copy(within / f"{name}.pb", HERE / f"{name}.pb")


def native(folder: Path) -> dict[str, object]:
    """Return the native models."""
    descriptor = DescrptDPA1(
        4.0, 1.0, 60, 2, neuron=[3, 6], axis_neuron=2, tebd_dim=4, attn_layer=0, set_davg_zero=True,
        precision="float64", seed=5, type_map=TYPES,
    )  # fmt: skip
    fitting = EnergyFittingNet(
        2, descriptor.get_dim_out(), neuron=[8, 8], resnet_dt=True, mixed_types=True, precision="float64",
        seed=6, type_map=TYPES,
    )  # fmt: skip
    fitting.bias_atom_e = np.array([[-3.0], [1.5]])

    def network() -> DPAtomicModel:
        return DPAtomicModel(descriptor, fitting, type_map=TYPES)

    pairs = PairTabAtomicModel(str(table(folder)), 4.0, 60, TYPES)
    # Columns of other types too, in another order.
    r = 0.2 + 0.05 * np.arange(100)
    wide = [np.sin(r + k) * np.clip(1.0 - r / 5.0, 0.0, None) ** 3 for k in range(6)]
    np.savetxt(folder / "wide.tab", np.column_stack([r, *wide]), fmt="%.15g")
    far = PairTabAtomicModel(str(folder / "wide.tab"), 5.0, 120, ["H", "C", "O"])
    zbl = DPZBLModel(network(), pairs, type_map=TYPES, **SWITCH)
    linear = LinearEnergyModel([network(), pairs, far], type_map=TYPES, weights=[0.7, 0.5, -1.5])
    for model in (zbl, linear):
        model.atomic_model.out_bias = np.array([[[-0.25], [0.125]]])
    return {"zbl": zbl, "linear": linear}


def main() -> None:
    os.environ |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    found = frames()
    types = np.array([TYPES.index(symbol) for symbol in found["bonds"]["symbols"]])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        train(folder)
        models = native(folder)
    for name, model in models.items():
        save_dp_model(
            str(HERE / f"{name}.dp"),
            {"model": model.serialize(), "backend": "dpmodel", "model_def_script": {}},
        )
        for frame in found.values():
            cell = None if frame["cell"] is None else np.array(frame["cell"]).reshape(1, 9)
            answer = model.call_common(np.array(frame["positions"]).reshape(1, -1), types[None], cell)
            frame[name] = {"atomic_energies": np.asarray(answer["energy"]).ravel().tolist()}
    from deepmd.infer import DeepPot

    for name in ("srtab", "linear"):
        potential = DeepPot(str(HERE / f"{name}.pb"))
        for frame in found.values():
            cell = None if frame["cell"] is None else np.array(frame["cell"]).reshape(1, 9)
            answer = potential.eval(np.array(frame["positions"]).reshape(1, -1), cell, types, atomic=True)
            energy, forces, virial, atomic = answer[:4]
            frame[f"{name}_pb"] = {
                "energy": float(energy.ravel()[0]),
                "atomic_energies": atomic.ravel().tolist(),
                "forces": forces.reshape(-1, 3).tolist(),
                "virial": virial.reshape(3, 3).tolist(),
            }
    (HERE / "answers.json").write_text(json.dumps(found, indent=0) + "\n")


if __name__ == "__main__":
    main()
