"""The executor of PTX: arithmetic on integers and bits against what it is to give."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from ptx.build import compiler
from ptx.cases import BITS64, RANDOM, S32, S64, SINGLES, Case, N, check, kernels_of
from ptx.machine import Kernel

pytestmark = pytest.mark.skipif(compiler() is None, reason="needs gcc")

BITS32 = RANDOM.integers(0, 2**32, N, np.uint32)
OTHER32 = RANDOM.integers(0, 2**32, N, np.uint32)
OTHER64 = RANDOM.integers(0, 2**64, N, np.uint64)
SMALL = (np.arange(N) % 40).astype(np.uint32)
LENGTHS = (np.arange(N) % 17).astype(np.uint32)
M32, M64 = 2**32 - 1, 2**64 - 1
T32, T64 = OTHER32.view(np.int32), OTHER64.view(np.int64)


def of_python(function: Callable[..., int], mask: int) -> Callable[..., np.ndarray]:
    """Compute with Python's integers, and keep so many bits."""

    def computed(*arrays: np.ndarray) -> np.ndarray:
        return np.array([function(*map(int, one)) & mask for one in zip(*arrays, strict=True)], np.uint64)

    return computed


def truncated_quotient(a: int, b: int) -> int:
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


def permuted(a: int, b: int, selector: int) -> int:
    data = (a | b << 32).to_bytes(8, "little")
    picked = [(selector >> 4 * i) & 15 for i in range(4)]
    found = [(0xFF if data[s & 7] & 0x80 else 0) if s & 8 else data[s & 7] for s in picked]
    return int.from_bytes(bytes(found), "little")


def field(a: int, position: int, length: int) -> int:
    return (a >> position) & ((1 << length) - 1)


def signed_field(a: int, position: int, length: int) -> int:
    """Bits of a number of 32 bits that is extended by its sign."""
    a = a - 2**32 if a >> 31 else a
    found = field(a, position, length)
    return found - (1 << length) if length and found >> (length - 1) else found


def inserted(a: int, b: int, position: int, length: int) -> int:
    mask = (((1 << length) - 1) << position) & M32
    return b & ~mask | (a << position) & mask


def counted(a: int) -> int:
    return a.bit_count()


CASES = {
    "add u32": Case(
        "u32 u32 u32", "add.u32 %d, %x, %y;", (BITS32, OTHER32), of_python(lambda a, b: a + b, M32)
    ),
    "sub s64": Case("s64 s64 u64", "sub.s64 %d, %x, %y;", (S64, T64), of_python(lambda a, b: a - b, M64)),
    "mul.lo s32": Case(
        "s32 s32 u32", "mul.lo.s32 %d, %x, %y;", (S32, T32), of_python(lambda a, b: a * b, M32)
    ),
    "mul.hi s32": Case(
        "s32 s32 u32", "mul.hi.s32 %d, %x, %y;", (S32, T32), of_python(lambda a, b: a * b >> 32, M32)
    ),
    "mul.hi u64": Case(
        "u64 u64 u64", "mul.hi.u64 %d, %x, %y;", (BITS64, OTHER64), of_python(lambda a, b: a * b >> 64, M64)
    ),
    "mul.hi s64": Case(
        "s64 s64 u64", "mul.hi.s64 %d, %x, %y;", (S64, T64), of_python(lambda a, b: a * b >> 64, M64)
    ),
    "mul.wide s32": Case(
        "s32 s32 u64", "mul.wide.s32 %d, %x, %y;", (S32, T32), of_python(lambda a, b: a * b, M64)
    ),
    "mad.lo u32": Case(
        "u32 u32 u32", "mad.lo.u32 %d, %x, %y, %x;", (BITS32, OTHER32), of_python(lambda a, b: a * b + a, M32)
    ),
    "mad.wide s32": Case(
        "s32 s32 u64",
        "cvt.s64.s32 %rd2, %y; mad.wide.s32 %d, %x, %y, %rd2;",
        (S32, T32),
        of_python(lambda a, b: a * b + b, M64),
    ),
    "carries": Case(
        # The upper half of a product of 64 bits, from products of 32.
        "u64 u64 u64",
        "mov.b64 {%r0, %r1}, %x; mov.b64 {%r2, %r3}, %y; mul.lo.u32 %r4, %r0, %r2; mul.hi.u32 %r5, %r0, %r2; "
        "mad.lo.cc.u32 %r5, %r0, %r3, %r5; madc.hi.u32 %r6, %r0, %r3, 0; mad.lo.cc.u32 %r5, %r1, %r2, %r5; "
        "madc.hi.cc.u32 %r6, %r1, %r2, %r6; addc.u32 %r7, 0, 0; mad.lo.cc.u32 %r6, %r1, %r3, %r6; "
        "madc.hi.u32 %r7, %r1, %r3, %r7; mov.b64 %d, {%r6, %r7};",
        (BITS64, OTHER64),
        of_python(lambda a, b: a * b >> 64, M64),
    ),
    "borrow": Case(
        "u64 u64 u64",
        "mov.b64 {%r0, %r1}, %x; mov.b64 {%r2, %r3}, %y; sub.cc.u32 %r4, %r0, %r2; subc.u32 %r5, %r1, %r3; "
        "mov.b64 %d, {%r4, %r5};",
        (BITS64, OTHER64),
        of_python(lambda a, b: a - b, M64),
    ),
    "div s32": Case(
        "s32 s32 u32", "div.s32 %d, %x, %y;", (S32, (T32 % 1000) | 1), of_python(truncated_quotient, M32)
    ),
    "rem s64": Case(
        "s64 s64 u64",
        "rem.s64 %d, %x, %y;",
        (S64, (T64 % 1000) | 1),
        of_python(lambda a, b: a - b * truncated_quotient(a, b), M64),
    ),
    "abs s32": Case("s32 s32", "abs.s32 %d, %x;", (S32,), np.abs),
    "neg s64": Case("s64 s64", "neg.s64 %d, %x;", (S64,), np.negative),
    "min s32": Case("s32 s32 s32", "min.s32 %d, %x, %y;", (S32, T32), np.minimum),
    "max u64": Case("u64 u64 u64", "max.u64 %d, %x, %y;", (BITS64, OTHER64), np.maximum),
    "sad": Case(
        "u32 u32 u32",
        "sad.u32 %d, %x, %y, %x;",
        (BITS32, OTHER32),
        of_python(lambda a, b: a + abs(a - b), M32),
    ),
    "bitwise": Case(
        "b32 b32 b32",
        "and.b32 %r0, %x, %y; or.b32 %r1, %x, 255; xor.b32 %r2, %r0, %r1; not.b32 %d, %r2;",
        (BITS32, OTHER32),
        lambda a, b: ~((a & b) ^ (a | 255)),
    ),
    "lop3": Case(
        # (a & b) | ~c, of which the table is a function of 0xF0, 0xCC and 0xAA.
        "b32 b32 b32",
        f"not.b32 %r0, %y; lop3.b32 %d, %x, %y, %r0, {0xF0 & 0xCC | ~0xAA & 0xFF};",
        (BITS32, OTHER32),
        lambda a, b: (a & b) | b,
    ),
    "shl": Case("b32 u32 b32", "shl.b32 %d, %x, %y;", (BITS32, SMALL), of_python(lambda a, n: a << n, M32)),
    "shr u32": Case(
        "u32 u32 u32", "shr.u32 %d, %x, %y;", (BITS32, SMALL), of_python(lambda a, n: a >> n, M32)
    ),
    "shr s32": Case("s32 u32 u32", "shr.s32 %d, %x, %y;", (S32, SMALL), of_python(lambda a, n: a >> n, M32)),
    "shr s64": Case(
        "s64 u32 u64", "shr.s64 %d, %x, %y;", (S64, 2 * SMALL), of_python(lambda a, n: a >> n, M64)
    ),
    "funnel left": Case(
        "b32 b32 u32 b32",
        "shf.l.wrap.b32 %d, %x, %y, %z;",
        (BITS32, OTHER32, SMALL),
        of_python(lambda a, b, n: ((b << 32 | a) << n % 32) >> 32, M32),
    ),
    "funnel right": Case(
        "b32 b32 u32 b32",
        "shf.r.clamp.b32 %d, %x, %y, %z;",
        (BITS32, OTHER32, SMALL),
        of_python(lambda a, b, n: (b << 32 | a) >> min(n, 32), M32),
    ),
    "prmt": Case(
        "b32 b32 b32 b32",
        "prmt.b32 %d, %x, %y, %z;",
        (BITS32, OTHER32, OTHER32[::-1].copy()),
        of_python(permuted, M32),
    ),
    "bfe u32": Case(
        "u32 u32 u32 u32", "bfe.u32 %d, %x, %y, %z;", (BITS32, SMALL % 32, LENGTHS), of_python(field, M32)
    ),
    "bfe s32": Case(
        "s32 u32 u32 u32",
        "bfe.s32 %d, %x, %y, %z;",
        (S32, SMALL % 32, LENGTHS),
        of_python(lambda a, p, n: signed_field(a & M32, p, n), M32),
    ),
    "bfi": Case(
        "b32 b32 u32 u32 b32",
        "bfi.b32 %d, %x, %y, %z, %w;",
        (BITS32, OTHER32, SMALL % 32, LENGTHS),
        of_python(inserted, M32),
    ),
    "popc": Case("b64 u32", "popc.b64 %d, %x;", (BITS64,), of_python(counted, M32)),
    "clz": Case(
        "b32 u32", "clz.b32 %d, %x;", (BITS32 >> SMALL % 32,), of_python(lambda a: 32 - a.bit_length(), M32)
    ),
    "bfind": Case(
        "u32 u32", "bfind.u32 %d, %x;", (BITS32 >> SMALL % 32,), of_python(lambda a: a.bit_length() - 1, M32)
    ),
    "brev": Case(
        "b32 b32", "brev.b32 %d, %x;", (BITS32,), of_python(lambda a: int(f"{a:032b}"[::-1], 2), M32)
    ),
    "selp setp": Case(
        "s32 s32 s32",
        "setp.lt.s32 %p1|%p2, %x, %y; selp.s32 %r0, %x, %y, %p1; selp.b32 %r1, %x, %y, %p2; "
        "xor.b32 %d, %r0, %r1;",
        (S32, T32),
        np.bitwise_xor,
    ),
    "setp and": Case(
        "u32 u32 u32",
        "setp.gt.s32 %p1, %x, 0; setp.hi.and.u32 %p2, %x, %y, !%p1; @%p2 bra yes; mov.u32 %d, 0; "
        "bra.uni end; "
        "yes: mov.u32 %d, 1; end: add.u32 %d, %d, 2;",
        (BITS32, OTHER32),
        lambda a, b: 2 + ((a > b) & ~(a.view(np.int32) > 0)),
    ),
    "slct": Case(
        "f32 s32 f32",
        "slct.f32.s32 %d, %x, 0f40000000, %y;",
        (SINGLES, S32),
        lambda a, b: np.where(b >= 0, a, 2),
    ),
    "narrow": Case(
        "u8 s8 s32",
        "cvt.s32.s8 %r0, %y; cvt.u32.u8 %r1, %x; add.s32 %d, %r0, %r1;",
        (BITS32.astype(np.uint8), OTHER32.astype(np.int8)),
        lambda a, b: a.astype(np.int32) + b,
    ),
}


@pytest.fixture(scope="module")
def kernels() -> dict[str, Kernel]:
    return kernels_of(CASES)


@pytest.mark.parametrize("name", CASES)
def test_an_instruction(kernels: dict[str, Kernel], name: str) -> None:
    check(CASES[name], kernels[name])
