"""What a bug report needs to know about the machine."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

from fastdp import __version__
from fastdp.parallel.threads import available_threads

PACKAGES = ("numpy", "scipy", "numba", "h5py", "ase", "pydantic", "protobuf")


def environment() -> str:
    """Return versions and platform, `fastdp` and its own version on the first line."""
    lines = [
        f"fastdp {__version__}",
        f"Python {platform.python_version()} on {platform.platform()}",
        f"cores that this process may use: {available_threads()}",
    ]
    return "\n".join(lines + [f"{name} {_version(name)}" for name in PACKAGES])


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
