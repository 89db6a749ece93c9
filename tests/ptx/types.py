"""The types of PTX as those of C."""

from __future__ import annotations

from ptx.syntax import SIZES

FLOATS = ("f32", "f64")
INTEGERS = tuple(name for name in SIZES if name[0] in "bsu" and name[1:] in ("8", "16", "32", "64"))


def c_type(kind: str) -> str:
    """Return the type of C for values of a type: bits are unsigned integers."""
    if kind == "pred":
        return "u8"
    return f"u{kind[1:]}" if kind[0] == "b" else kind


def bits_type(kind: str) -> str:
    """Return the unsigned integer of C of the same size."""
    return f"u{8 * SIZES[kind]}"


def signed(kind: str) -> str:
    """Return the signed type of an integer."""
    return f"s{kind[1:]}"


def is_float(kind: str) -> bool:
    """Whether values are floating-point numbers."""
    return kind in FLOATS


def literal(bits: int, kind: str) -> str:
    """Return a constant of C by its bits, or by its value of an integer."""
    size = SIZES[kind]
    unsigned = bits & ((1 << 8 * size) - 1)
    if kind == "f32":
        return f"uf(0x{unsigned:x}u)"
    if kind == "f64":
        return f"ud(0x{unsigned:x}ull)"
    return f"(({c_type(kind)})0x{unsigned:x}{'ull' if size == 8 else 'u'})"
