"""The executor of PTX: memory of all kinds, what is checked of it, functions, and launches."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
from ptx.build import compiler
from ptx.errors import PtxFaultError, PtxSyntaxError
from ptx.machine import Memory, load
from ptx.ptx_device import PtxDriver
from ptx.translate import translate
from ptx.writing import HEADER, kernel, lanes, run

pytestmark = pytest.mark.skipif(compiler() is None, reason="needs gcc")

OWN = "mad.wide.u32 %rd1, %tid, 4, %out;"


def test_vectors() -> None:
    values, out = np.arange(64, dtype=np.float32), np.zeros(64, np.float32)
    code = "mad.wide.u32 %rd1, %tid, 16, %values; mad.wide.u32 %rd2, %tid, 16, %out; "
    code += "ld.global.nc.L1::no_allocate.v4.f32 {%f1, %f2, %f3, _}, [%rd1]; "
    code += "st.global.v2.f32 [%rd2], {%f3, %f2}; st.global.f32 [%rd2+8], %f1;"
    run(kernel("k", ["values", "out"], code), "k", 1, 16, values, out)
    expected = values.reshape(-1, 4)[:, [2, 1, 0, 0]]
    expected[:, 3] = 0
    np.testing.assert_array_equal(out.reshape(-1, 4), expected)


def test_shared_memory_is_full_of_nothing() -> None:
    out = np.zeros(8)
    code = ".shared .align 8 .b8 room[64]; mov.u32 %r1, room; mad.lo.u32 %r1, %tid, 8, %r1; "
    code += "ld.shared.f64 %fd1, [%r1]; "
    run(
        kernel("k", ["out"], code + "mad.wide.u32 %rd1, %tid, 8, %out; st.global.f64 [%rd1], %fd1;"),
        "k",
        1,
        8,
        out,
    )
    assert np.isnan(out).all()


DYNAMIC = ".extern .shared .align 16 .b8 room[];\n" + kernel(
    "k",
    ["out"],
    # Behind 4 bytes that have a size, at an address of which 16 is a factor; by a generic address.
    ".shared .align 4 .b8 fixed[4]; st.shared.u32 [fixed], 7; mov.u64 %rd2, room; "
    "cvta.shared.u64 %rd3, %rd2; "
    "mad.wide.u32 %rd4, %tid, 4, %rd3; st.u32 [%rd4], %tid; bar.sync 0; ld.shared.u32 %r1, [room+4]; "
    "cvta.to.shared.u64 %rd5, %rd4; ld.shared.u32 %r2, [%rd5]; add.u32 %r1, %r1, %r2; "
    "isspacep.shared %p1, %rd4; "
    "@%p1 add.u32 %r1, %r1, 100; " + OWN + "st.u32 [%rd1], %r1;",
)


def test_dynamic_shared_memory() -> None:
    out = lanes(n=16)
    run(DYNAMIC, "k", 1, 16, out, shared=64)
    np.testing.assert_array_equal(out, np.arange(16) + 101)
    with pytest.raises(PtxFaultError, match=r"beyond shared memory.*has 76 bytes.*thread \(15, 0, 0\)"):
        run(DYNAMIC, "k", 1, 16, out, shared=60)


def test_local_memory_is_each_threads_own() -> None:
    code = (
        ".local .align 8 .b8 own[16]; mov.u64 %rd2, own; cvta.local.u64 %rd3, %rd2; st.u32 [%rd3+4], %tid; "
    )
    code += "bar.sync 0; ld.local.u32 %r1, [%rd2+4]; " + OWN + "st.global.u32 [%rd1], %r1;"
    out = lanes()
    run(kernel("k", ["out"], code), "k", 1, 32, out)
    np.testing.assert_array_equal(out, np.arange(32))
    with pytest.raises(PtxFaultError, match="beyond local memory"):
        run(kernel("k", ["out"], code.replace("[%rd2+4]", "[%rd2+16]")), "k", 1, 32, out)


@pytest.mark.parametrize(
    ("operation", "dtype", "expected"),
    [
        ("add.u32", np.uint32, 10 + 31 * 16),
        ("add.f64", np.float64, 10 + 31 * 16),
        ("max.s32", np.int32, 31),
        ("min.u32", np.uint32, 0),
        ("or.b32", np.uint32, 31),
        ("and.b64", np.uint64, 0),
        ("inc.u32", np.uint32, None),
    ],
)
def test_atomic_operations(operation: str, dtype: type, expected: int | None) -> None:
    total = np.array([10], dtype)
    kind, register = operation.split(".")[1], {8: "%rd2", 4: "%r1"}[np.dtype(dtype).itemsize]
    set_up = "cvt.u64.u32 %rd2, %tid; mov.u32 %r1, %tid;"
    if kind == "f64":
        set_up, register = "cvt.rn.f64.u32 %fd1, %tid;", "%fd1"
    run(kernel("k", ["total"], f"{set_up} red.global.{operation} [%total], {register};"), "k", 1, 32, total)
    if expected is None:
        # Up to the thread's number, then from zero again.
        expected = 10
        for number in range(32):
            expected = 0 if expected >= number else expected + 1
    assert total[0] == expected


def test_atomic_operations_give_what_was_there() -> None:
    total, out = np.zeros(1, np.uint32), lanes()
    run(kernel("k", ["total", "out"], f"atom.add.u32 %r0, [%total], 2; {OWN} st.global.u32 [%rd1], %r0;"),
        "k", 1, 32, total, out)  # fmt: skip
    np.testing.assert_array_equal(np.sort(out), 2 * np.arange(32))
    code = "atom.global.cas.b32 %r0, [%total], 64, 5; atom.global.exch.b32 %r1, [%total], %r0;"
    run(kernel("k", ["total", "out"], code), "k", 1, 1, total, out)
    assert total[0] == 64


COPIES = """
.shared .align 16 .b8 room[2048];
mov.u32 %r1, room; mad.lo.u32 %r2, %tid, 16, %r1; mad.wide.u32 %rd2, %tid, 16, %values;
cp.async.cg.shared.global [%r2], [%rd2], 16; cp.async.commit_group;
cp.async.ca.shared.global.L2::128B [%r2+1024], [%rd2], 8, {second}; cp.async.commit_group;
cp.async.wait_group {left};
bar.sync 0;
xor.b32 %r3, %tid, 33; mad.lo.u32 %r3, %r3, 16, %r1; mad.wide.u32 %rd3, %tid, 16, %out;
ld.shared.v2.u32 {{%r4, %r5}}, [%r3]; ld.shared.v2.u32 {{%r6, %r7}}, [%r3+1024];
st.global.v4.u32 [%rd3], {{%r4, %r5, %r6, %r7}};
"""


@pytest.mark.parametrize(("left", "second"), [(0, 8), (0, 4), (1, 8), (2, 8)])
def test_asynchronous_copies_arrive_when_they_are_waited_for(left: int, second: int) -> None:
    values, out = np.arange(256, dtype=np.uint32), np.zeros((64, 4), np.uint32)
    code = COPIES.format(left=left, second=second)
    run(kernel("k", ["values", "out"], code), "k", 1, 64, values, out)
    nothing = np.full((64, 2), 2**32 - 1)
    expected = values.reshape(64, 4)[np.arange(64) ^ 33][:, :2]
    np.testing.assert_array_equal(out[:, :2], expected if left < 2 else nothing)
    # What is beyond the size of the source is zero.
    late = expected * [1, second == 8]
    np.testing.assert_array_equal(out[:, 2:], late if left == 0 else nothing)


def test_copies_are_checked() -> None:
    values, out = np.arange(252, dtype=np.uint32), np.zeros((64, 4), np.uint32)
    with pytest.raises(PtxFaultError, match=r"not allocated, 16 bytes.*cp.async.cg.*thread \(63, 0, 0\)"):
        run(kernel("k", ["values", "out"], COPIES.format(left=0, second=8)), "k", 1, 64, values, out)
    moved = COPIES.replace("[%rd2], 16;", "[%rd2+8], 16;").format(left=0, second=8)
    with pytest.raises(PtxFaultError, match="misaligned"):
        run(kernel("k", ["values", "out"], moved), "k", 1, 60, values, out)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            "ld.global.u32 %r0, [%out+128];",
            r"not allocated, 4 bytes at .* \(0 bytes behind the end of an array of 128",
        ),
        ("ld.global.u32 %r0, [%out-4];", "not allocated"),
        ("st.global.u64 [%out+4], %rd5;", r"misaligned access, 8 bytes .*\(byte 4 of an array"),
        ("ld.global.v4.f32 {%f1, %f2, %f3, %f4}, [%out+8];", "misaligned access, 16 bytes"),
        ("ld.global.u64 %rd2, [%out+124];", "misaligned"),
        ("ld.global.u32 %r0, [0];", "not allocated"),
        ("mov.u64 %rd2, 8; ld.u32 %r0, [%rd2];", "not allocated"),
        ("ld.shared.u32 %r0, [1024];", "beyond shared memory"),
        ("ld.param.u64 %rd3, [k_out+8];", "beyond the parameters"),
        (".reg .b64 %a; mov.b64 %a, k_out; ld.param.u64 %rd3, [%a+8];", "beyond the parameters"),
    ],
)
def test_what_must_not_be_touched(code: str, message: str) -> None:
    with pytest.raises(PtxFaultError, match=f"kernel k: .*{message}") as error:
        run(kernel("k", ["out"], code), "k", 1, 1, lanes())
    assert code.rsplit(";", 2)[-2].strip() in str(error.value)


def test_memory_that_was_let_go() -> None:
    memory = Memory()
    array, other = memory.upload(lanes()), memory.upload(lanes())
    found = load(HEADER + kernel("k", ["out"], "st.global.u32 [%out], 1;"))["k"]
    given = found.packed(array)
    found.launch(1, 1, given, memory)
    assert array[0] == 1
    del array
    with pytest.raises(PtxFaultError, match="not allocated"):
        found.launch(1, 1, given, memory)
    assert memory.holds(other.ctypes.data, 128)
    assert not memory.holds(other.ctypes.data, 129)
    assert other.ctypes.data % 256 == 0


FUNCTION = """
.const .align 8 .f64 table[3] = {0d3FF0000000000000, 0d4000000000000000, 0d4008000000000000};
.global .align 4 .u32 counter = 5;
.func (.param .b64 result) twice(.param .b64 given)
{
.local .align 8 .b8 depot[8]; .reg .f64 %fd<4>;
ld.param.f64 %fd1, [given]; st.local.f64 [depot], %fd1; ld.local.f64 %fd2, [depot]; add.f64 %fd3, %fd1, %fd2;
st.param.f64 [result+0], %fd3; ret;
}
"""
CALL = """
.local .align 8 .b8 mine[8]; mov.u64 %rd2, 77; st.local.u64 [mine], %rd2;
mov.u64 %rd3, table; mad.wide.u32 %rd3, %tid, 8, %rd3; ld.const.f64 %fd1, [%rd3];
{ // callseq 0, 0
.param .b64 param0; st.param.f64 [param0+0], %fd1; .param .b64 retval0;
call.uni (retval0), twice, (param0);
ld.param.f64 %fd2, [retval0+0];
}
ld.local.u64 %rd2, [mine]; cvt.rn.f64.u64 %fd3, %rd2; add.f64 %fd2, %fd2, %fd3;
red.global.add.u32 [counter], 1;
ld.global.u32 %r1, [counter]; cvt.rn.f64.u32 %fd3, %r1; mad.wide.u32 %rd1, %tid, 16, %out;
st.global.v2.f64 [%rd1], {%fd2, %fd3};
"""


def test_functions_and_variables_of_a_module() -> None:
    out = np.zeros((3, 2))
    run(FUNCTION + kernel("k", ["out"], CALL), "k", 1, 3, out)
    np.testing.assert_array_equal(out, [[79, 6], [81, 7], [83, 8]])


def test_a_table_has_an_end() -> None:
    with pytest.raises(PtxFaultError, match=r"not allocated.*ld.const.f64"):
        run(FUNCTION + kernel("k", ["out"], CALL), "k", 1, 4, np.zeros((4, 2)))


def test_a_table_of_branches() -> None:
    code = "mov.u32 %r0, 0; targets: .branchtargets zero, one; brx.idx %tid, targets; "
    code += f"zero: add.u32 %r0, %r0, 10; one: add.u32 %r0, %r0, 1; {OWN} st.global.u32 [%rd1], %r0;"
    out = lanes(n=2)
    run(kernel("k", ["out"], code), "k", 1, 2, out)
    np.testing.assert_array_equal(out, [11, 1])


def test_a_function_of_the_system_is_a_fault() -> None:
    text = ".extern .func __assertfail(.param .b64 a);\n"
    with pytest.raises(PtxFaultError, match="a function of the system"):
        run(text + kernel("k", [], "{ .param .b64 p; call __assertfail, (p); }"), "k", 1, 1)


def test_grids_and_blocks_of_three_axes() -> None:
    code = "mov.u32 %r1, %ctaid.z; mov.u32 %r2, %nctaid.y; mov.u32 %r3, %ctaid.y; "
    code += "mad.lo.u32 %r1, %r1, %r2, %r3; "
    code += (
        "mov.u32 %r2, %nctaid.x; mov.u32 %r3, %ctaid.x; mad.lo.u32 %r1, %r1, %r2, %r3; mov.u32 %r2, %ntid.y; "
    )
    code += "mov.u32 %r3, %tid.y; mad.lo.u32 %r1, %r1, %r2, %r3; mov.u32 %r2, %ntid.x; "
    code += "mad.lo.u32 %r1, %r1, %r2, %tid; mad.wide.u32 %rd1, %r1, 4, %out; st.global.u32 [%rd1], %r1;"
    memory = Memory()
    out = memory.empty(2 * 3 * 4 * 5 * 6, np.uint32)
    found = load(HEADER + kernel("k", ["out"], code))["k"]
    found.launch((2, 3, 4), (5, 6), found.packed(out), memory)
    np.testing.assert_array_equal(out, np.arange(720))


def test_what_is_no_ptx() -> None:
    for text, message in (
        ("add.u32 %r0;", "line 1"),
        (HEADER + "\n.visible .entry k() { add.u32 %r0 %r1; }", "line 5"),
    ):
        with pytest.raises(PtxSyntaxError, match=message):
            translate(text)


def launched(driver: PtxDriver, handle: int, grid: int, block: int, shared: int, array: np.ndarray) -> int:
    """Launch as the product's launcher does."""
    number, one = ctypes.c_uint, ctypes.c_uint(1)
    value = ctypes.c_int64(array.ctypes.data)
    pointers = (ctypes.c_void_p * 1)(ctypes.addressof(value))
    return driver.cuLaunchKernel(
        ctypes.c_void_p(handle), number(grid), one, one, number(block), one, one, number(shared),
        ctypes.c_void_p(0), pointers, None,
    )  # fmt: skip


def test_the_driver_refuses_what_a_card_refuses() -> None:
    memory = Memory()
    driver, out = PtxDriver(memory), memory.upload(lanes(n=1024))
    handle = driver.adopt(load(HEADER + DYNAMIC)["k"])
    assert launched(driver, handle, 1, 16, 64, out) == 0
    np.testing.assert_array_equal(out[:16], np.arange(16) + 101)
    assert launched(driver, handle + 1, 1, 16, 64, out) == 400
    assert [launched(driver, handle, *size, out) for size in ((0, 16, 64), (1, 1025, 8192), (1, 0, 64))] == [
        1,
        1,
        1,
    ]
    assert launched(driver, handle, 1, 16, 48 * 1024, out) == 1
    assert driver.cuFuncSetAttribute(ctypes.c_void_p(handle), 8, 48 * 1024) == 0
    assert launched(driver, handle, 1, 16, 48 * 1024, out) == 0
    assert driver.cuFuncSetAttribute(ctypes.c_void_p(handle), 8, 227 * 1024) == 1
