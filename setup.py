"""Builds the Cython extensions; everything else is declared in pyproject.toml."""

from Cython.Build import cythonize
from setuptools import Extension, setup

extensions = [
    Extension(f"fastdp_ext.{name}", [f"fastdp_ext/{name}.pyx"], extra_compile_args=["-O3"])
    for name in ("cell_list", "exchange")
]

setup(ext_modules=cythonize(extensions, language_level=3))
