"""The executor of PTX: floating point and conversions against what they are to give."""

from __future__ import annotations

import numpy as np
import pytest
from ptx.build import compiler
from ptx.cases import BITS64, RANDOM, S32, S64, SINGLES, Case, N, check, kernels_of
from ptx.errors import UnsupportedPtxError
from ptx.machine import Kernel
from ptx.translate import translate
from ptx.writing import HEADER, kernel

pytestmark = pytest.mark.skipif(compiler() is None, reason="needs gcc")

DOUBLES = SINGLES.astype(np.float64) + RANDOM.normal(0, 1e-12, N)
POSITIVE32, POSITIVE64 = np.abs(SINGLES) + np.float32(0.1), np.abs(DOUBLES) + 0.1
SPECIAL = np.array([np.nan, 1.0, np.nan, -0.0, 0.0, np.inf, -np.inf, 3.0])
PARTNER = np.array([2.0, np.nan, np.nan, 0.0, -0.0, 1.0, 1.0, 3.0])


def next_towards_zero(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The sum of two singles rounded towards zero, by way of double precision."""
    exact = a.astype(np.float64) + b
    near = exact.astype(np.float32)
    return np.where(np.abs(near.astype(np.float64)) > np.abs(exact), np.nextafter(near, np.float32(0)), near)


def rounded_up(a: np.ndarray) -> np.ndarray:
    near = a.astype(np.float32)
    return np.where(near.astype(np.float64) < a, np.nextafter(near, np.float32(np.inf)), near)


CASES = {
    "add f32": Case("f32 f32 f32", "add.f32 %d, %x, %y;", (SINGLES, SINGLES[::-1].copy()), np.add),
    "add.rz f32": Case(
        "f32 f32 f32", "add.rz.f32 %d, %x, %y;", (SINGLES[:-1], SINGLES[-2::-1].copy()), next_towards_zero
    ),
    "add.ftz f32": Case(
        "f32 f32",
        "add.ftz.f32 %d, %x, 0f00000000;",
        (SINGLES,),
        lambda a: np.where(np.abs(a) < 1.2e-38, 0, a),
    ),
    "add.sat f32": Case(
        "f32 f32",
        "add.sat.f32 %d, %x, 0f3E800000;",
        (SINGLES,),
        lambda a: np.clip(a + np.float32(0.25), 0, 1),
    ),
    "mul f64": Case("f64 f64 f64", "mul.f64 %d, %x, %y;", (DOUBLES, DOUBLES[::-1].copy()), np.multiply),
    "div.rn f64": Case("f64 f64 f64", "div.rn.f64 %d, %x, %y;", (DOUBLES, POSITIVE64), np.divide),
    "sqrt.rn f32": Case("f32 f32", "sqrt.rn.f32 %d, %x;", (POSITIVE32,), np.sqrt),
    "rcp.rn f64": Case("f64 f64", "rcp.rn.f64 %d, %x;", (POSITIVE64,), lambda a: 1 / a),
    # The last bit of a fused product is another than that of two roundings.
    "fma f32": Case(
        "f32 f32 f32 f32",
        "fma.rn.f32 %d, %x, %y, %z;",
        (SINGLES, SINGLES[::-1].copy(), POSITIVE32),
        lambda a, b, c: (a.astype(np.longdouble) * b + c).astype(np.float32),
    ),
    "neg abs f64": Case("f64 f64", "abs.f64 %fd1, %x; neg.f64 %d, %fd1;", (DOUBLES,), lambda a: -np.abs(a)),
    "copysign": Case(
        "f32 f32 f32", "copysign.f32 %d, %x, %y;", (SINGLES, POSITIVE32), lambda a, b: np.copysign(b, a)
    ),
    "min f64": Case(
        "f64 f64 f64",
        "min.f64 %d, %x, %y;",
        (SPECIAL, PARTNER),
        lambda a, b: np.array([2, 1, np.nan, -0.0, -0.0, 1, -np.inf, 3]),
    ),
    "max f32": Case(
        "f32 f32 f32",
        "max.f32 %d, %x, %y;",
        (SPECIAL.astype(np.float32), PARTNER.astype(np.float32)),
        lambda a, b: np.array([2, 1, np.nan, 0.0, 0.0, np.inf, 1, 3]),
    ),
    "max.NaN f32": Case(
        "f32 f32 f32",
        "max.NaN.f32 %d, %x, %y;",
        (SPECIAL.astype(np.float32), PARTNER.astype(np.float32)),
        lambda a, b: np.array([np.nan, np.nan, np.nan, 0.0, 0.0, np.inf, 1, 3]),
    ),
    "setp of NaN": Case(
        "f64 f64 u32",
        "setp.lt.f64 %p1, %x, %y; selp.u32 %r1, 1, 0, %p1; setp.ltu.f64 %p1, %x, %y; "
        "selp.u32 %r2, 2, 0, %p1; "
        "setp.ne.f64 %p1, %x, %y; selp.u32 %r3, 4, 0, %p1; setp.nan.f64 %p1, %x, %y; "
        "selp.u32 %r4, 8, 0, %p1; "
        "setp.geu.f64 %p1, %x, %y; selp.u32 %r5, 16, 0, %p1; add.u32 %d, %r1, %r2; add.u32 %d, %d, %r3; "
        "add.u32 %d, %d, %r4; add.u32 %d, %d, %r5;",
        (SPECIAL, PARTNER),
        lambda a, b: [2 + 8 + 16] * 3 + [16, 16, 4 + 16, 1 + 2 + 4, 16],
    ),
    "ex2 lg2": Case(
        "f32 f32", "lg2.approx.f32 %f1, %x; ex2.approx.ftz.f32 %d, %f1;", (POSITIVE32,), lambda a: a, 1e-5
    ),
    "sin tanh": Case(
        "f32 f32",
        "sin.approx.f32 %f1, %x; tanh.approx.f32 %d, %f1;",
        (SINGLES,),
        lambda a: np.tanh(np.sin(a)),
        1e-5,
    ),
    "rsqrt": Case("f64 f64", "rsqrt.approx.f64 %d, %x;", (POSITIVE64,), lambda a: 1 / np.sqrt(a), 1e-14),
    # Of a gross approximation half of the bits are zero: good to some 20 bits, and not more.
    "rcp gross": Case("f64 f64", "rcp.approx.ftz.f64 %d, %x;", (POSITIVE64,), lambda a: 1 / a, 2e-6),
    "rcp gross is gross": Case(
        "f64 u64",
        "rcp.approx.ftz.f64 %fd1, %x; mov.b64 %rd2, %fd1; and.b64 %d, %rd2, 0xFFFFFFFF;",
        (POSITIVE64,),
        lambda a: 0 * a,
    ),
    "testp": Case("f64 u32", "testp.finite.f64 %p1, %x; selp.u32 %d, 1, 0, %p1;", (SPECIAL,), np.isfinite),
    "cvt rni": Case("f32 s32", "cvt.rni.s32.f32 %d, %x;", (SINGLES,), np.rint),
    "cvt rzi": Case("f64 s64", "cvt.rzi.s64.f64 %d, %x;", (DOUBLES,), np.trunc),
    "cvt rmi": Case("f64 f64", "cvt.rmi.f64.f64 %d, %x;", (DOUBLES,), np.floor),
    "cvt rpi": Case("f32 u32", "cvt.rpi.u32.f32 %d, %x;", (SINGLES,), lambda a: np.maximum(np.ceil(a), 0)),
    "cvt s64": Case("s64 f64", "cvt.rn.f64.s64 %d, %x;", (S64,), lambda a: a.astype(np.float64)),
    "cvt f64 f32": Case("f64 f32", "cvt.rn.f32.f64 %d, %x;", (DOUBLES,), lambda a: a.astype(np.float32)),
    "cvt rp": Case("f64 f32", "cvt.rp.f32.f64 %d, %x;", (DOUBLES,), rounded_up),
    "cvt of NaN": Case(
        "f64 s32",
        "cvt.rzi.s32.f64 %d, %x;",
        (SPECIAL,),
        lambda a: [-(2**31), 1, -(2**31), 0, 0, 2**31 - 1, -(2**31), 3],
    ),
    "cvt of a single NaN": Case(
        "f32 s32",
        "cvt.rzi.s32.f32 %d, %x;",
        (SPECIAL.astype(np.float32),),
        lambda a: [0, 1, 0, 0, 0, 2**31 - 1, -(2**31), 3],
    ),
    "cvt.sat": Case(
        "s32 u8", "cvt.sat.u8.s32 %h0, %x; mov.b16 %d, %h0;", (S32 >> 22,), lambda a: np.clip(a, 0, 255)
    ),
    "cvt tf32": Case(
        "f32 b32",
        "cvt.rna.tf32.f32 %d, %x;",
        (SINGLES,),
        lambda a: (a.view(np.uint32) + 0x1000) & ~np.uint32(0x1FFF),
    ),
    "mov of halves": Case(
        "f64 f64", "mov.b64 {%r1, %r2}, %x; mov.b64 %d, {%r1, %r2};", (DOUBLES,), lambda a: a
    ),
    "mov of quarters": Case(
        "b64 b64",
        "mov.b64 {%h0, %h1, %h2, %h3}, %x; mov.b64 %d, {%h3, %h2, %h1, %h0};",
        (BITS64,),
        lambda a: a.view(np.uint16).reshape(-1, 4)[:, ::-1].copy().view(np.uint64)[:, 0],
    ),
    "sign extension of a load": Case(
        "s32 u64",
        "ld.global.s32 %rd2, [%rd1]; mov.u64 %d, %rd2;",
        (S32,),
        lambda a: a.astype(np.int64).view(np.uint64),
    ),
}


@pytest.fixture(scope="module")
def kernels() -> dict[str, Kernel]:
    return kernels_of(CASES)


@pytest.mark.parametrize("name", CASES)
def test_an_instruction(kernels: dict[str, Kernel], name: str) -> None:
    check(CASES[name], kernels[name])


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("tcgen05.alloc.b32 %r0;", r"line \d+: tcgen05.alloc.b32 is not supported"),
        ("add.f32.bf16 %f0, %f1, %f2;", "not supported"),
        ("add.s32.relu %r0, %r1, %r2;", r"add.s32.relu is not supported \(.relu\)"),
        ("cvt.f16.f32 %h0, %f1;", "cvt.f16.f32 is not supported"),
        ("add.u32 %r0, %r99, 1;", "the name %r99 is not known"),
        ("shfl.down.b32 %r0, %r1, 1, 31;", "without .sync"),
        ("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%f0}, {%r0}, {%r1}, {%f0};", "not supported"),
    ],
)
def test_what_is_not_known_is_said(code: str, message: str) -> None:
    with pytest.raises(UnsupportedPtxError, match=message):
        translate(HEADER + kernel("k", [], code))
