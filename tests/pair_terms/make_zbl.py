"""Print what LAMMPS gives for pairs of tungsten and helium: `python make_zbl.py PATH/TO/lmp`."""

import subprocess
import sys
import tempfile
from pathlib import Path

PAIRS = [(1, 1, 0.5), (1, 2, 1.2), (1, 1, 1.5), (2, 2, 1.9)]

INPUT = """
units metal
atom_style atomic
boundary f f f
region b block -10 10 -10 10 -10 10
create_box 2 b
create_atoms {first} single 0 0 0
create_atoms {second} single {r} 0 0
mass * 1.0
pair_style zbl 1.0 2.0
pair_coeff 1 1 74.0 74.0
pair_coeff 1 2 74.0 2.0
pair_coeff 2 2 2.0 2.0
comm_modify cutoff 8.0
thermo_style custom pe fmax
thermo_modify format float %.16g
run 0
"""


def main() -> None:
    for first, second, r in PAIRS:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "in.zbl"
            path.write_text(INPUT.format(first=first, second=second, r=r))
            command = [sys.argv[1], "-in", str(path), "-log", "none"]
            lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
        row = next(number for number, line in enumerate(lines) if line.split() == ["PotEng", "Fmax"])
        print(first, second, r, *lines[row + 1].split())


if __name__ == "__main__":
    main()
