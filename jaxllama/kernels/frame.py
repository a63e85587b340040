"""What every kernel needs around its arithmetic: XLA's call frame, and work shared among XLA's own threads.

A kernel's work is a number of *units*. The handler puts everything into a control block and asks XLA's thread pool to run `work` on other threads too.
Every participant, the caller included, claims parts of the units from a counter until none is left. So the caller can always finish alone, and it waits
only for parts that are already running: a kernel that waited for tasks which have not begun would deadlock as soon as two of them ran at once. A task that
begins late finds no part left; a count of references keeps the control block alive until the last has seen it.

Source: xla/ffi/api/c_api.h, version 0.3. Structures there only ever grow at their ends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .instructions import InstructionSet
from .ir import Function

API_VERSION = (0, 3)
# Byte offsets in XLA's structures.
_FRAME_EXTENSION, _FRAME_API, _FRAME_CONTEXT, _FRAME_ARGUMENTS, _FRAME_RESULTS = 8, 16, 24, 72, 112
_BUFFER_DATA, _BUFFER_DIMS = 24, 40
_EXTENSION_TYPE, _EXTENSION_METADATA, _METADATA_VERSION, _METADATA_EXTENSION_TYPE = 8, 24, 24, 1
_API_SCHEDULE, _API_THREADS = 136, 144
# The control block: i64 fields, then the kernel's own values.
_NEXT, _DONE, _REFERENCES, _PARTS, _UNITS, _VALUES = range(0, 6 * 8, 8)

PARTS_A_THREAD = 4  # more parts than threads, so that a thread that is held up does not hold up the rest
ALONE_BYTES = 128 * 1024  # work that reads no more than this is not worth waking another thread


@dataclass(frozen=True)
class Buffer:
    """An operand or a result while the handler is written."""

    f: Function
    pointer: str  # to XLA's description of it

    def data(self) -> str:
        return self.f.load("ptr", self.pointer, _BUFFER_DATA, 8)

    def dim(self, axis: int) -> str:
        """The length of an axis, i64."""
        return self.f.load("i64", self.f.load("ptr", self.pointer, _BUFFER_DIMS, 8), 8 * axis, 8)


@dataclass(frozen=True)
class Work:
    """What the handler has found out.

    Attributes:
        units: how many there are, i64.
        nbytes: what all of them read together, i64; decides whether other threads are worth waking.
        values: (type, value) of 8 bytes each, which the units are given.
    """

    units: str
    nbytes: str
    values: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Kernel:
    """A kernel's own code.

    Attributes:
        operands, results: how many buffers it has.
        prepare: writes what the handler does first, given the operands and the results.
        units: writes the computation of the units from `first` to before `last`, given those and the values.
        finish: writes what the caller does when all units are done, given the values.
        declarations: of what the code calls.
    """

    operands: int
    results: int
    prepare: Callable[[Function, list[Buffer], list[Buffer]], Work]
    units: Callable[[Function, str, str, list[str]], None]
    finish: Callable[[Function, list[str]], None] | None = None
    declarations: str = ""


def module(name: str, kernel: Kernel, instructions: InstructionSet) -> str:
    """The IR of a handler called `name`."""
    handler = Function(name, "ptr", "ptr")
    types = _handler(handler, name, kernel, instructions)  # first, because it knows the types of the values

    def values(f: Function) -> list[str]:
        return [f.load(t, f.parameters[0], _VALUES + 8 * i, 8) for i, t in enumerate(types)]

    units = Function(f"{name}_units", "internal void", "ptr", "i64", "i64")
    kernel.units(units, units.parameters[1], units.parameters[2], values(units))
    units.do("ret void")
    functions = [units, _work(name), _task(name), handler]
    if kernel.finish is not None:
        finish = Function(f"{name}_finish", "internal void", "ptr")
        kernel.finish(finish, values(finish))
        finish.do("ret void")
        functions.append(finish)
    return "\n".join(["declare ptr @malloc(i64)\ndeclare void @free(ptr)", instructions.declarations, kernel.declarations, *(f.text() for f in functions)])


def _work(name: str) -> Function:
    """work(control): claim parts until none is left."""
    f = Function(f"{name}_work", "internal void", "ptr")
    control = f.parameters[0]
    parts, units = f.load("i64", control, _PARTS, 8), f.load("i64", control, _UNITS, 8)
    claimed = f.let("alloca i64")

    def claim() -> str:
        part = f.let(f"atomicrmw add ptr {f.at(control, _NEXT)}, i64 1 acq_rel")
        f.store("i64", part, claimed, align=8)
        return f.let(f"icmp slt i64 {part}, {parts}")

    def compute() -> None:
        part = f.load("i64", claimed, align=8)
        first = f.div(f.mul(units, part), parts)
        last = f.div(f.mul(units, f.add(part, 1)), parts)
        f.if_(f.let(f"icmp slt i64 {first}, {last}"), lambda: f.do(f"call void @{name}_units(ptr {control}, i64 {first}, i64 {last})"))
        f.let(f"atomicrmw add ptr {f.at(control, _DONE)}, i64 1 acq_rel")

    f.while_(claim, compute)
    f.do("ret void")
    return f


def _release(f: Function, control: str) -> None:
    left = f.let(f"atomicrmw sub ptr {f.at(control, _REFERENCES)}, i64 1 acq_rel")
    f.if_(f.let(f"icmp eq i64 {left}, 1"), lambda: f.do(f"call void @free(ptr {control})"))


def _task(name: str) -> Function:
    """task(control): what a thread of the pool runs."""
    f = Function(f"{name}_task", "internal void", "ptr")
    f.do(f"call void @{name}_work(ptr {f.parameters[0]})")
    _release(f, f.parameters[0])
    f.do("ret void")
    return f


def _handler(f: Function, name: str, kernel: Kernel, instructions: InstructionSet) -> list[str]:
    """Write the function that XLA calls; returns the types of the kernel's values."""
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

    def buffers(offset: int, count: int) -> list[Buffer]:
        array = f.load("ptr", frame, offset, 8)
        return [Buffer(f, f.load("ptr", array, 8 * i, 8)) for i in range(count)]

    work = kernel.prepare(f, buffers(_FRAME_ARGUMENTS, kernel.operands), buffers(_FRAME_RESULTS, kernel.results))

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
    small = f.let(f"icmp slt i64 {work.nbytes}, {ALONE_BYTES}")
    many = f.let(f"select i1 {small}, i64 1, i64 {f.load('i64', threads, 0, 8)}")
    alone = f.let(f"icmp slt i64 {many}, 2")
    parts = f.let(f"select i1 {alone}, i64 1, i64 {f.mul(many, PARTS_A_THREAD)}")
    control = f.let(f"call ptr @malloc(i64 {_VALUES + 8 * len(work.values)})")
    for offset, value in ((_NEXT, 0), (_DONE, 0), (_REFERENCES, 1), (_PARTS, parts), (_UNITS, work.units)):
        f.store("i64", value, control, offset, 8)
    for i, (type_, value) in enumerate(work.values):
        f.store(type_, value, control, _VALUES + 8 * i, 8)

    count = f.let("alloca i64")
    f.store("i64", 1, count, align=8)

    def schedule() -> None:
        f.let(f"atomicrmw add ptr {f.at(control, _REFERENCES)}, i64 1 acq_rel")
        error = ask(_API_SCHEDULE, context, f"@{name}_task", control)
        f.if_(f.let(f"icmp ne ptr {error}, null"), lambda: _release(f, control))  # the task will not come
        f.store("i64", f.add(f.load("i64", count, 0, 8), 1), count, align=8)

    f.while_(lambda: f.let(f"icmp slt i64 {f.load('i64', count, 0, 8)}, {many}"), schedule)
    f.do(f"call void @{name}_work(ptr {control})")

    def unfinished() -> str:
        done = f.let(f"load atomic i64, ptr {f.at(control, _DONE)} acquire, align 8")
        return f.let(f"icmp slt i64 {done}, {parts}")

    f.while_(unfinished, lambda: f.do(instructions.pause))
    if kernel.finish is not None:
        f.do(f"call void @{name}_finish(ptr {control})")
    _release(f, control)
    f.do("ret ptr null")
    return [type_ for type_, _ in work.values]
