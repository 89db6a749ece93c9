"""What ranks run to make the steps of an input file on shadow memory; prints what each of them found."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "gpu"))

from shadow import ShadowDevice, install

from fastdp.cli.main import main

device = ShadowDevice()
install(device, setattr)
code = main(["run", "input.toml"])
lines = [*map(str, device.reports), f"kernels: {' '.join(sorted(device.log.kernels))}", ""]
# In one piece, for all ranks write to the same place.
sys.stdout.write("\n".join([f"\nreports: {len(device.reports)}", *lines]))
raise SystemExit(code)
