"""The executor of PTX: what threads do together, and what happens where they do not get together."""

from __future__ import annotations

import numpy as np
import pytest
from ptx.build import compiler
from ptx.errors import PtxFaultError
from ptx.writing import kernel, lanes, run

pytestmark = pytest.mark.skipif(compiler() is None, reason="needs gcc")

STORE = "mad.wide.u32 %rd1, %tid, 4, %out; st.global.u32 [%rd1], %r0;"
LANES = np.arange(32)


def of_threads(code: str, block: int = 32, **options: object) -> np.ndarray:
    """Return %r0 of each thread."""
    out = lanes(n=block)
    run(kernel("k", ["out"], code + STORE), "k", 1, block, out, **options)
    return out


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("up.b32 %r0|%p1, %r1, 3, 0", np.where(LANES < 3, LANES, LANES - 3)),
        ("down.b32 %r0|%p1, %r1, 5, 31", np.where(LANES + 5 > 31, LANES, LANES + 5)),
        ("bfly.b32 %r0|%p1, %r1, 6, 31", LANES ^ 6),
        ("idx.b32 %r0|%p1, %r1, 9, 31", np.full(32, 9)),
        # In segments of eight lanes.
        ("down.b32 %r0, %r1, 2, 0x1807", np.where(LANES % 8 + 2 > 7, LANES, LANES + 2)),
        ("idx.b32 %r0, %r1, 3, 0x1807", LANES // 8 * 8 + 3),
    ],
)
def test_shuffles(how: str, expected: np.ndarray, backwards: bool) -> None:
    mode, rest = how.split(" ", 1)
    code = f"add.u32 %r1, %tid, 100; shfl.sync.{mode} {rest}, 0xFFFFFFFF;"
    np.testing.assert_array_equal(of_threads(code, backwards=backwards), expected + 100)


def test_a_shuffle_says_who_was_there() -> None:
    code = "shfl.sync.up.b32 %r1|%p1, %tid, 4, 0, 0xFFFFFFFF; selp.u32 %r0, 1, 0, %p1;"
    np.testing.assert_array_equal(of_threads(code), LANES >= 4)


def test_votes() -> None:
    odd = "and.b32 %r2, %tid, 1; setp.eq.u32 %p1, %r2, 1; "
    bits = int(sum(1 << i for i in range(1, 32, 2)))
    assert set(of_threads(odd + "vote.sync.ballot.b32 %r0, %p1, 0xFFFFFFFF;")) == {bits}
    assert set(of_threads(odd + "vote.sync.any.pred %p2, %p1, -1; selp.u32 %r0, 1, 0, %p2;")) == {1}
    assert set(of_threads(odd + "vote.sync.all.pred %p2, %p1, -1; selp.u32 %r0, 1, 0, %p2;")) == {0}
    # Only the odd lanes ask, and all of them say yes.
    half = (
        f"mov.u32 %r0, 7; @!%p1 bra end; vote.sync.all.pred %p2, %p1, {bits}; selp.u32 %r0, 1, 0, %p2; end:"
    )
    np.testing.assert_array_equal(of_threads(odd + half), np.where(LANES % 2, 1, 7))


def test_sums_and_matches_of_a_warp() -> None:
    assert set(of_threads("redux.sync.add.u32 %r0, %tid, 0xFFFFFFFF;")) == {31 * 16}
    assert set(of_threads("sub.s32 %r1, %tid, 5; redux.sync.min.s32 %r0, %r1, -1;")) == {2**32 - 5}
    found = of_threads("and.b32 %r1, %tid, 3; match.any.sync.b32 %r0, %r1, 0xFFFFFFFF;")
    np.testing.assert_array_equal(found, 0x11111111 << (LANES % 4))


def test_exited_threads_are_not_waited_for() -> None:
    """Lanes from 20 on are gone; what is read from them is nothing."""
    out = lanes()
    code = (
        "setp.ge.u32 %p1, %tid, 20; @%p1 exit; shfl.sync.bfly.b32 %r0, %tid, 16, 31, 0xFFFFFFFF; bar.sync 0;"
    )
    run(kernel("k", ["out"], code + STORE), "k", 1, 32, out)
    np.testing.assert_array_equal(out[:4], [16, 17, 18, 19])
    np.testing.assert_array_equal(out[4:16], np.full(12, 2**32 - 1))
    np.testing.assert_array_equal(out[20:], 0)


REVERSE = """
.shared .align 4 .b8 room[512];
mov.u64 %rd2, room; mad.wide.u32 %rd3, %tid, 4, %rd2; st.shared.u32 [%rd3], %tid;
{barrier}
sub.u32 %r1, 127, %tid; mad.wide.u32 %rd3, %r1, 4, %rd2; ld.shared.u32 %r0, [%rd3];
"""


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("barrier", ["bar.sync 0;", "barrier.sync.aligned 3, 128;", "bar.sync 1, 128;"])
def test_barriers(barrier: str, backwards: bool) -> None:
    found = of_threads(REVERSE.format(barrier=barrier), 128, backwards=backwards)
    np.testing.assert_array_equal(found, 127 - np.arange(128))


def test_a_missing_barrier_shows() -> None:
    """Whichever half of the threads goes first reads what nobody has written."""
    for backwards in (False, True):
        found = of_threads(REVERSE.format(barrier=""), 128, backwards=backwards)
        assert np.count_nonzero(found == 2**32 - 1) == 64


def test_registers_survive_a_barrier_in_a_loop() -> None:
    code = """
    .reg .f64 %sum; mov.f64 %sum, 0d0000000000000000; mov.u32 %r5, 0; cvt.rn.f64.u32 %fd1, %tid;
    again: add.f64 %sum, %sum, %fd1; bar.sync 0; add.u32 %r5, %r5, 1; setp.lt.u32 %p1, %r5, 10;
    @%p1 bra again;
    cvt.rzi.u32.f64 %r0, %sum;
    """
    np.testing.assert_array_equal(of_threads(code, 64), 10 * np.arange(64))


def test_a_barrier_that_counts() -> None:
    code = "setp.lt.u32 %p1, %tid, 40; bar.red.popc.u32 %r1, 0, %p1; bar.red.or.pred %p2, 0, %p1; "
    code += "bar.red.and.pred %p3, 0, %p1; selp.u32 %r2, 100, 0, %p2; selp.u32 %r3, 1000, 0, %p3; "
    assert set(of_threads(code + "add.u32 %r0, %r1, %r2; add.u32 %r0, %r0, %r3;", 96)) == {140}


def test_a_producer_does_not_wait() -> None:
    """One warp arrives and goes on, the other waits for it."""
    code = "mov.u32 %r0, 5; setp.lt.u32 %p1, %tid, 32; @%p1 bra first; bar.sync 1, 64; bra end; "
    assert set(of_threads(code + "first: bar.arrive 1, 64; end:", 64)) == {5}


@pytest.mark.parametrize(
    ("code", "message"),
    [
        # Half of a warp waits at one barrier, half at another.
        ("setp.lt.u32 %p1, %tid, 16; @%p1 bra a; bar.sync 0; bra b; a: bar.sync 0; b:", "different barriers"),
        ("setp.lt.u32 %p1, %tid, 16; @%p1 bra a; bar.sync 0; bra b; a: bar.sync 1; b:", None),
        ("bar.sync 0, 64;", "others that never come"),
        ("setp.lt.u32 %p1, %tid, 16; @%p1 bar.warp.sync 0xFFFFFFFF; @!%p1 bar.sync 0;", "never come"),
        ("shfl.sync.idx.b32 %r0, %tid, 0, 31, 1;", "not in the mask"),
        ("shl.b32 %r1, 1, %tid; or.b32 %r1, %r1, 3; vote.sync.ballot.b32 %r0, %p1, %r1;", "different masks"),
        ("bar.sync 16;", "a number that there is not"),
        ("setp.eq.u32 %p1, %tid, 7; @%p1 trap;", r"a trap.*thread \(7, 0, 0\)"),
        ("again: bra again;", "endless"),
        (
            "setp.eq.u32 %p1, %tid, 7; @%p1 exit; mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64 "
            "{%fd1, %fd2}, {%fd3}, {%fd4}, {%fd1, %fd2};",
            "without all threads",
        ),
    ],
)
def test_what_does_not_get_together_is_said(code: str, message: str | None) -> None:
    if message is None:
        # Two barriers with as many threads each as there are: all wait, half of them at each.
        message = "never come"
    with pytest.raises(PtxFaultError, match=message):
        of_threads("mov.u32 %r0, 0;" + code, fuel=1000)


def fragments(matrix: np.ndarray, places: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Return what each lane holds of a matrix, at (rows, columns) by lane for each of its registers."""
    return np.stack([matrix[rows, columns] for rows, columns in places], axis=1)


G, T = LANES >> 2, LANES & 3


def of_a(rows: int, depth: int) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(G + 8 * h, T + 4 * v) for v in range(depth // 4) for h in range(rows // 8)]


def of_b(depth: int) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(T + 4 * v, G) for v in range(depth // 4)]


def of_c(rows: int) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(G + 8 * h, 2 * T + e) for h in range(rows // 8) for e in range(2)]


def loads(array: str, register: str, kind: str, n: int) -> str:
    size = 8 if kind == "f64" else 4
    lines = [f"mad.wide.u32 %rd1, %tid, {n * size}, %{array};"]
    lines += [f"ld.global.{kind} %{register}{i}, [%rd1+{size * i}];" for i in range(n)]
    return "\n".join(lines)


def multiplied(shape: str, rows: int, depth: int, kind: str) -> tuple[np.ndarray, ...]:
    """Return A, B, C and what the instruction makes of them."""
    generator = np.random.default_rng(3)
    real = np.float64 if kind == "f64" else np.float32
    a, b, c = (generator.normal(size=size).astype(real) for size in ((rows, depth), (depth, 8), (rows, 8)))
    parts = fragments(a, of_a(rows, depth)), fragments(b, of_b(depth)), fragments(c, of_c(rows))
    n_a, n_b, n_c = (part.shape[1] for part in parts)
    factor = "f64" if kind == "f64" else "b32"
    a_names = [f"%a{i}" for i in range(n_a)]
    b_names, c_names = [f"%b{i}" for i in range(n_b)], [f"%c{i}" for i in range(n_c)]
    declared = f".reg .{factor} %a<{n_a}>; .reg .{factor} %b<{n_b}>; .reg .{kind[-3:]} %c<{n_c}>;"
    types = "f64.f64.f64.f64" if kind == "f64" else "f32.tf32.tf32.f32"
    groups = ["{" + ", ".join(names) + "}" for names in (c_names, a_names, b_names, c_names)]
    size = 8 if kind == "f64" else 4
    stores = [f"mad.wide.u32 %rd1, %tid, {n_c * size}, %out;"]
    stores += [f"st.global.{kind} [%rd1+{size * i}], %c{i};" for i in range(n_c)]
    code = [declared, loads("a", "a", factor, n_a), loads("b", "b", factor, n_b), loads("c", "c", kind, n_c)]
    code += [f"mma.sync.aligned.{shape}.row.col.{types} {', '.join(groups)};", *stores]
    out = np.zeros((32, n_c), real)
    run(kernel("k", ["a", "b", "c", "out"], "\n".join(code)), "k", 1, 32, *parts, out)
    result = np.full((rows, 8), np.nan, real)
    for i, (row, column) in enumerate(of_c(rows)):
        result[row, column] = out[:, i]
    return a, b, c, result


@pytest.mark.parametrize(
    ("shape", "rows", "depth"),
    [("m8n8k4", 8, 4), ("m16n8k4", 16, 4), ("m16n8k8", 16, 8), ("m16n8k16", 16, 16)],
)
def test_products_in_double_precision(shape: str, rows: int, depth: int) -> None:
    a, b, c, found = multiplied(shape, rows, depth, "f64")
    np.testing.assert_allclose(found, a @ b + c, rtol=0, atol=1e-14)


@pytest.mark.parametrize(("shape", "depth"), [("m16n8k4", 4), ("m16n8k8", 8)])
def test_products_in_tf32_see_19_bits(shape: str, depth: int) -> None:
    a, b, c, found = multiplied(shape, 16, depth, "f32")
    cut = [(one.view(np.uint32) & ~np.uint32(0x1FFF)).view(np.float32).astype(np.float64) for one in (a, b)]
    np.testing.assert_allclose(found, cut[0] @ cut[1] + c, rtol=0, atol=2e-6)
    # And not all bits.
    assert np.abs(found - (a.astype(np.float64) @ b + c)).max() > 1e-4
