"""What every kernel needs around its arithmetic: XLA's call frame, and rows shared among XLA's own threads.

The handler puts everything into a control block and asks XLA's thread pool to run `work` on other threads too. Every participant, the caller included, claims
parts of the tiles from a counter until none is left. So the caller can always finish alone, and it waits only for parts that are already running: a kernel that
waited for tasks which have not begun would deadlock as soon as two of them ran at once. A task that begins late finds no part left; a count of references
keeps the control block alive until the last has seen it.

Source: xla/ffi/api/c_api.h, version 0.3. Structures there only ever grow at their ends.
"""

from __future__ import annotations

from collections.abc import Callable

from .ir import Function

API_VERSION = (0, 3)
# Byte offsets in XLA's structures.
_FRAME_EXTENSION, _FRAME_API, _FRAME_CONTEXT, _FRAME_ARGUMENTS, _FRAME_RESULTS = 8, 16, 24, 72, 112
_BUFFER_DATA, _BUFFER_DIMS = 24, 40
_EXTENSION_TYPE, _EXTENSION_METADATA, _METADATA_VERSION, _METADATA_EXTENSION_TYPE = 8, 24, 24, 1
_API_SCHEDULE, _API_THREADS = 136, 144
# The control block: i64 fields, then a pointer for each operand and one for the result.
NEXT, DONE, REFERENCES, PARTS, TILES, BLOCKS, BATCHES, POINTERS = range(0, 8 * 8, 8)

PARTS_A_THREAD = 4  # more parts than threads, so that a thread that is held up does not hold up the rest
ALONE_BYTES = 128 * 1024  # a matrix this small is not worth waking another thread


def module(name: str, part_bytes: list[int], operands: int, tiles: Callable[[Function], None]) -> str:
    """The IR of a handler called `name`.

    Operands are the parts of the weight, [S, T, B, count, 16] each, then activations whose first axis counts batches of rows, and last the int32 index of the
    matrix in the stack.

    Args:
        part_bytes: for each part, the bytes of one block of a tile.
        operands: how many operands there are, parts and index included.
        tiles: writes the body of `tiles(control, first, last)`, which computes the tiles from `first` to before `last`.
    """
    body = Function(f"{name}_tiles", "internal void", "ptr", "i64", "i64")
    tiles(body)
    body.do("ret void")
    functions = [body, _work(name), _task(name), _handler(name, part_bytes, operands)]
    return "\n".join([_DECLARATIONS, *(f.text() for f in functions)])


_DECLARATIONS = """
declare ptr @malloc(i64)
declare void @free(ptr)
declare void @llvm.x86.sse2.pause()
declare <16 x i32> @llvm.x86.avx512.vpdpbusd.512(<16 x i32>, <64 x i8>, <64 x i8>)
declare <64 x i8> @llvm.x86.avx512.pshuf.b.512(<64 x i8>, <64 x i8>)
declare <16 x float> @llvm.fma.v16f32(<16 x float>, <16 x float>, <16 x float>)
"""


def _work(name: str) -> Function:
    """work(control): claim parts until none is left."""
    f = Function(f"{name}_work", "internal void", "ptr")
    control = f.parameters[0]
    parts, tiles = f.load("i64", control, PARTS, 8), f.load("i64", control, TILES, 8)
    claimed = f.let("alloca i64")

    def claim() -> str:
        part = f.let(f"atomicrmw add ptr {control}, i64 1 acq_rel")  # NEXT is the first field
        f.store("i64", part, claimed, align=8)
        return f.let(f"icmp slt i64 {part}, {parts}")

    def compute() -> None:
        part = f.load("i64", claimed, align=8)
        first = f.let(f"sdiv i64 {f.mul(tiles, part)}, {parts}")
        last = f.let(f"sdiv i64 {f.mul(tiles, f.add(part, 1))}, {parts}")
        f.if_(f.let(f"icmp slt i64 {first}, {last}"), lambda: f.do(f"call void @{name}_tiles(ptr {control}, i64 {first}, i64 {last})"))
        f.let(f"atomicrmw add ptr {f.at(control, DONE)}, i64 1 acq_rel")

    f.while_(claim, compute)
    f.do("ret void")
    return f


def _release(f: Function, control: str) -> None:
    left = f.let(f"atomicrmw sub ptr {f.at(control, REFERENCES)}, i64 1 acq_rel")
    f.if_(f.let(f"icmp eq i64 {left}, 1"), lambda: f.do(f"call void @free(ptr {control})"))


def _task(name: str) -> Function:
    """task(control): what a thread of the pool runs."""
    f = Function(f"{name}_task", "internal void", "ptr")
    f.do(f"call void @{name}_work(ptr {f.parameters[0]})")
    _release(f, f.parameters[0])
    f.do("ret void")
    return f


def _handler(name: str, part_bytes: list[int], operands: int) -> Function:
    f = Function(name, "ptr", "ptr")
    frame = f.parameters[0]
    extension = f.load("ptr", frame, _FRAME_EXTENSION, 8)

    def answer() -> None:
        def version() -> None:
            metadata = f.load("ptr", extension, _EXTENSION_METADATA, 8)
            for i, value in enumerate((*API_VERSION, 0)):  # major, minor, traits
                f.store("i32", value, metadata, _METADATA_VERSION + 4 * i, 4)
            f.do("ret ptr null")

        kind = f.load("i32", extension, _EXTENSION_TYPE, 4)
        f.if_(f.let(f"icmp eq i32 {kind}, {_METADATA_EXTENSION_TYPE}"), version, returns=True)

    f.if_(f.let(f"icmp ne ptr {extension}, null"), answer)

    arguments = f.load("ptr", frame, _FRAME_ARGUMENTS, 8)
    buffers = [f.load("ptr", arguments, 8 * i, 8) for i in range(operands)]
    data = [f.load("ptr", b, _BUFFER_DATA, 8) for b in buffers]
    result = f.load("ptr", f.load("ptr", f.load("ptr", frame, _FRAME_RESULTS, 8), 0, 8), _BUFFER_DATA, 8)
    dims = f.load("ptr", buffers[0], _BUFFER_DIMS, 8)
    tiles, blocks = f.load("i64", dims, 8, 8), f.load("i64", dims, 16, 8)
    batches = f.load("i64", f.load("ptr", buffers[len(part_bytes)], _BUFFER_DIMS, 8), 0, 8)
    index = f.let(f"sext i32 {f.load('i32', data[-1], 0, 4)} to i64")
    before = f.mul(index, f.mul(tiles, blocks))  # blocks of tiles in the stack before this matrix
    pointers = [f.at(d, f.mul(before, n)) for d, n in zip(data, part_bytes, strict=False)] + data[len(part_bytes) :]

    api, context = f.load("ptr", frame, _FRAME_API, 8), f.load("ptr", frame, _FRAME_CONTEXT, 8)
    threads, question = f.let("alloca i64"), f.let("alloca [5 x i64]")
    f.store("i64", 1, threads, align=8)

    def ask(offset: int, *fields: str) -> str:
        """Call a function of XLA's interface with a structure of these pointers; null means success."""
        f.store("i64", 8 * (2 + len(fields)), question, align=8)
        f.store("ptr", "null", question, 8, 8)
        for i, value in enumerate(fields):
            f.store("ptr", value, question, 16 + 8 * i, 8)
        return f.let(f"call ptr {f.load('ptr', api, offset, 8)}(ptr {question})")

    ask(_API_THREADS, context, threads)  # without a pool the answer is an error, and the count stays 1
    work = f.mul(f.mul(f.mul(tiles, blocks), sum(part_bytes)), batches)
    small = f.let(f"icmp slt i64 {work}, {ALONE_BYTES}")
    many = f.let(f"select i1 {small}, i64 1, i64 {f.load('i64', threads, 0, 8)}")
    alone = f.let(f"icmp slt i64 {many}, 2")
    parts = f.let(f"select i1 {alone}, i64 1, i64 {f.mul(many, PARTS_A_THREAD)}")
    control = f.let(f"call ptr @malloc(i64 {POINTERS + 8 * (operands + 1)})")
    for offset, value in ((NEXT, 0), (DONE, 0), (REFERENCES, 1), (PARTS, parts), (TILES, tiles), (BLOCKS, blocks), (BATCHES, batches)):
        f.store("i64", value, control, offset, 8)
    for i, pointer in enumerate([*pointers, result]):
        f.store("ptr", pointer, control, POINTERS + 8 * i, 8)

    count = f.let("alloca i64")
    f.store("i64", 1, count, align=8)

    def schedule() -> None:
        f.let(f"atomicrmw add ptr {f.at(control, REFERENCES)}, i64 1 acq_rel")
        error = ask(_API_SCHEDULE, context, f"@{name}_task", control)
        f.if_(f.let(f"icmp ne ptr {error}, null"), lambda: _release(f, control))  # the task will not come
        f.store("i64", f.add(f.load("i64", count, 0, 8), 1), count, align=8)

    f.while_(lambda: f.let(f"icmp slt i64 {f.load('i64', count, 0, 8)}, {many}"), schedule)
    f.do(f"call void @{name}_work(ptr {control})")

    def unfinished() -> str:
        done = f.let(f"load atomic i64, ptr {f.at(control, DONE)} acquire, align 8")
        return f.let(f"icmp slt i64 {done}, {parts}")

    f.while_(unfinished, lambda: f.do("call void @llvm.x86.sse2.pause()"))
    _release(f, control)
    f.do("ret ptr null")
    return f
