"""The executor of PTX: what it counts, by kernels of which that is known."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from ptx.build import compiler
from ptx.counting import Counters
from ptx.machine import Memory, load
from ptx.writing import HEADER, kernel

pytestmark = pytest.mark.skipif(compiler() is None, reason="needs gcc")

ROOM = ".shared .align 16 .b8 room[16384]; mov.u64 %rd9, room; "


def counted(code: str, block: int = 32, grid: int = 1, *, backwards: bool = False) -> Counters:
    """Return what was counted of a kernel that may use 64 KiB at %values."""
    memory = Memory()
    values = memory.upload(np.zeros(1 << 14, np.uint32))
    found = load(HEADER + kernel("k", ["values"], code), ("-O0",), counting=True)["k"]
    result = found.launch(grid, block, found.packed(values), memory, backwards=backwards)
    assert result is not None
    return result


def by_class(found: Counters) -> Counter[str]:
    """Return how many instructions of each class were issued."""
    result: Counter[str] = Counter()
    for row in found.rows():
        result[row.kind] += row.warps
    return result


def test_classes() -> None:
    code = """
    add.f64 %fd1, %fd1, %fd2; fma.rn.f64 %fd1, %fd1, %fd2, %fd1; setp.lt.f64 %p1, %fd1, %fd2;
    mul.f32 %f1, %f2, %f3; ex2.approx.f32 %f1, %f1; rcp.approx.ftz.f64 %fd1, %fd1; div.rn.f32 %f1, %f1, %f2;
    add.u32 %r1, %r2, %r3; and.b32 %r1, %r1, 7; cvt.rn.f64.u32 %fd1, %r1; mov.u32 %r1, %r2;
    shfl.sync.bfly.b32 %r0, %tid, 1, 31, -1; bar.sync 0; red.global.add.u32 [%values], 1;
    @%p1 bra end; end:
    """
    found = by_class(counted(code, 64))
    # Two warps; before the code, two moves and the load of a parameter, behind it the return.
    expected = {"fp64": 3, "fp32": 2, "special": 2, "integer": 2, "convert": 1, "move": 4, "exchange": 1,
                "barrier": 1, "atomic": 1, "branch": 2}  # fmt: skip
    assert found == {name: 2 * n for name, n in expected.items()}


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize(
    ("kind", "bytes_apart", "wavefronts", "least"),
    [
        ("u32", 4, 1, 1),
        ("u32", 8, 2, 1),
        ("u32", 128, 32, 1),
        # All the same word.
        ("u32", 0, 1, 1),
        # 33 words apart: every lane has a bank of its own.
        ("u32", 132, 1, 1),
        ("u8", 1, 1, 1),
        ("f64", 8, 2, 2),
        # Half a warp fills the 16 pairs of banks where an odd number of pairs lies between lanes.
        ("f64", 24, 2, 2),
        ("f64", 16, 4, 2),
        ("f64", 128, 32, 2),
        ("v2.f64", 16, 4, 4),
        ("v4.f32", 16, 4, 4),
        ("v4.f32", 32, 8, 4),
    ],
)
@pytest.mark.parametrize("operation", ["ld", "st"])
def test_conflicts_of_banks(
    operation: str, kind: str, bytes_apart: int, wavefronts: int, least: int, backwards: bool
) -> None:
    target = {"u32": "%r1", "u8": "%h1", "f64": "%fd1", "v2.f64": "{%fd1, %fd2}"}.get(
        kind, "{%f1, %f2, %f3, %f4}"
    )
    place = "[%rd1]"
    operands = f"{target}, {place}" if operation == "ld" else f"{place}, {target}"
    code = f"{ROOM} mad.wide.u32 %rd1, %tid, {bytes_apart}, %rd9; {operation}.shared.{kind} {operands};"
    (row,) = (row for row in counted(code, backwards=backwards).rows() if row.kind == "shared")
    assert (row.warps, row.threads, row.wavefronts, row.least) == (1, 32, wavefronts, least)


def test_atomic_operations_on_a_word_take_turns() -> None:
    code = ROOM + "mov.u32 %r1, room; atom.shared.add.u32 %r2, [%r1], 1;"
    (row,) = (row for row in counted(code).rows() if row.kind == "atomic")
    assert row.wavefronts == 32


@pytest.mark.parametrize(
    ("kind", "bytes_apart", "sectors", "lines"),
    [("u32", 4, 4, 1), ("u32", 0, 1, 1), ("u32", 32, 32, 8), ("f64", 8, 8, 2), ("f64", 16, 16, 4),
     ("v2.f64", 16, 16, 4), ("u8", 1, 1, 1), ("u32", 128, 32, 8)],
)  # fmt: skip
def test_sectors(kind: str, bytes_apart: int, sectors: int, lines: int) -> None:
    """Two warps that read the same, twice; what a block has read before is not new to it."""
    target = {"u32": "%r1", "u8": "%h1", "f64": "%fd1"}.get(kind, "{%fd1, %fd2}")
    load_it = f"ld.global.{kind} {target}, [%rd1];"
    code = f"mad.wide.u32 %rd1, %lane, {bytes_apart}, %values; {load_it} {load_it}"
    first, second = (row for row in counted(code, 64, 3).rows() if row.kind == "global")
    size = {"u32": 4, "u8": 1, "f64": 8}.get(kind, 16)
    for row in (first, second):
        assert (row.warps, row.bytes, row.sectors, row.lines) == (6, 6 * 32 * size, 6 * sectors, 6 * lines)
    assert (first.first, second.first) == (3 * sectors, 0)


def test_generic_addresses_count_where_they_lead() -> None:
    code = ROOM + "mad.wide.u32 %rd1, %tid, 8, %rd9; cvta.shared.u64 %rd1, %rd1; ld.u32 %r1, [%rd1]; "
    code += "mad.wide.u32 %rd2, %tid, 8, %values; ld.u32 %r1, [%rd2];"
    first, second = (row for row in counted(code).rows() if row.kind == "global")
    assert (first.wavefronts, first.sectors) == (2, 0)
    assert (second.wavefronts, second.sectors) == (0, 8)


def test_divergence() -> None:
    """Lane i takes i turns of a loop: the warp takes 31, with fewer and fewer lanes."""
    code = """
    mov.u32 %r1, 0;
    again: setp.ge.u32 %p1, %r1, %tid; @%p1 bra end;
    mad.wide.u32 %rd1, %r1, 4, %values; ld.global.u32 %r2, [%rd1]; add.u32 %r1, %r1, 1; bra again;
    end: add.f64 %fd1, %fd1, %fd1;
    """
    rows = {row.opcode: row for row in counted(code).rows()}
    assert (rows["ld.global.u32"].warps, rows["ld.global.u32"].threads) == (31, 31 * 32 // 2)
    assert rows["ld.global.u32"].sectors == 31
    assert rows["ld.global.u32"].bytes == 4 * 31 * 32 // 2
    assert (rows["setp.ge.u32"].warps, rows["setp.ge.u32"].threads) == (32, 32 * 33 // 2)
    assert (rows["add.f64"].warps, rows["add.f64"].threads) == (1, 32)


def test_what_a_predicate_leaves_out() -> None:
    """An instruction is issued whatever its predicate says; memory is touched by those that may."""
    code = """
    setp.lt.u32 %p1, %tid, 8; mad.wide.u32 %rd1, %tid, 4, %values; @%p1 ld.global.u32 %r1, [%rd1];
    setp.gt.u32 %p2, %tid, 99; @%p2 ld.global.u8 %h1, [%rd1];
    """
    first, second = (row for row in counted(code).rows() if row.kind == "global")
    assert (first.warps, first.bytes, first.sectors) == (1, 32, 1)
    assert (second.warps, second.bytes, second.sectors) == (1, 0, 0)


def test_threads_that_wait_for_each_other_start_anew() -> None:
    """Lane i turns round i times, then 31 - i: between the loops all meet, so that is 62 turns, not 31."""
    loop = "{0}: setp.ge.u32 %p1, %r1, %r2; @%p1 bra {0}end; add.u32 %r1, %r1, 1; bra {0}; {0}end:"
    code = (
        "mov.u32 %r2, %tid; mov.u32 %r3, 0; twice: mov.u32 %r1, 0; "
        + loop.format("l")
        + "bar.warp.sync 0xFFFFFFFF; sub.u32 %r2, 31, %r2; add.u32 %r3, %r3, 1; setp.lt.u32 %p2, %r3, 2; "
        "@%p2 bra twice;"
    )
    turns = next(row for row in counted(code).rows() if row.opcode == "add.u32")
    assert (turns.warps, turns.threads) == (62, 31 * 32)


def test_nothing_is_counted_unless_wanted() -> None:
    memory = Memory()
    values = memory.upload(np.zeros(32, np.uint32))
    found = load(HEADER + kernel("k", ["values"], "ld.global.u32 %r1, [%values];"), ("-O0",))["k"]
    assert found.launch(1, 32, found.packed(values), memory) is None
