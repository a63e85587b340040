"""Writing LLVM IR as text: values are the names they get, a function is a list of lines."""

from __future__ import annotations

from collections.abc import Callable, Sequence


class Function:
    """A function under construction.

    `let` appends an instruction and returns the name of its value; types are spelled as LLVM spells them.
    """

    def __init__(self, name: str, result: str, *parameters: str):
        self.name = name
        self._head = f"define {result} @{name}({', '.join(f'{t} %p{i}' for i, t in enumerate(parameters))}) {{"
        self.parameters = [f"%p{i}" for i in range(len(parameters))]
        self._lines: list[str] = ["entry:"]
        self._names = 0
        self._block = "entry"

    def text(self) -> str:
        return "\n".join([self._head, *self._lines, "}"])

    def do(self, line: str) -> None:
        self._lines.append(f"  {line}")

    def let(self, line: str) -> str:
        self._names += 1
        name = f"%v{self._names}"
        self.do(f"{name} = {line}")
        return name

    def label(self) -> str:
        self._names += 1
        return f"b{self._names}"

    def start(self, block: str) -> None:
        self._lines.append(f"{block}:")
        self._block = block

    # --- memory ---

    def at(self, pointer: str, offset: str | int) -> str:
        """A pointer `offset` bytes further."""
        return self.let(f"getelementptr i8, ptr {pointer}, i64 {offset}")

    def load(self, type_: str, pointer: str, offset: str | int = 0, align: int = 1) -> str:
        return self.let(f"load {type_}, ptr {self.at(pointer, offset) if offset else pointer}, align {align}")

    def load_int(self, pointer: str, offset: str | int = 0) -> str:
        """An i32 in memory, as i64."""
        return self.let(f"sext i32 {self.load('i32', pointer, offset, 4)} to i64")

    def store(self, type_: str, value: str | int, pointer: str, offset: str | int = 0, align: int = 1) -> None:
        self.do(f"store {type_} {value}, ptr {self.at(pointer, offset) if offset else pointer}, align {align}")

    def prefetch(self, pointer: str, offset: str | int = 0) -> None:
        """Ask for the cache line at an address, which need not be one that may be read."""
        self.do(f"call void @llvm.prefetch.p0(ptr {self.at(pointer, offset)}, i32 0, i32 3, i32 1)")

    # --- arithmetic: on i64, and vectors of one value ---

    def add(self, a: str | int, b: str | int) -> str:
        return self.let(f"add i64 {a}, {b}")

    def mul(self, a: str | int, b: str | int) -> str:
        return self.let(f"mul i64 {a}, {b}")

    def sub(self, a: str | int, b: str | int) -> str:
        return self.let(f"sub i64 {a}, {b}")

    def div(self, a: str | int, b: str | int) -> str:
        """a / b, rounded towards zero."""
        return self.let(f"sdiv i64 {a}, {b}")

    def divmod(self, a: str | int, b: str | int) -> tuple[str, str]:
        return self.div(a, b), self.let(f"srem i64 {a}, {b}")

    def lesser(self, a: str | int, b: str | int) -> str:
        return self.let(f"select i1 {self.let(f'icmp slt i64 {a}, {b}')}, i64 {a}, i64 {b}")

    def greater(self, a: str | int, b: str | int) -> str:
        return self.let(f"select i1 {self.let(f'icmp sgt i64 {a}, {b}')}, i64 {a}, i64 {b}")

    def splat(self, element: str, count: int, value: str) -> str:
        """A vector with the same value in all places."""
        vector = f"<{count} x {element}>"
        first = self.let(f"insertelement {vector} poison, {element} {value}, i32 0")
        return self.let(f"shufflevector {vector} {first}, {vector} poison, <{count} x i32> zeroinitializer")

    # --- control ---

    def loop(self, start: str | int, stop: str | int, carried: Sequence[tuple[str, str]], body: Callable[[str, list[str]], list[str]]) -> list[str]:
        """for index in range(start, stop), at least once; `carried` are (type, first value) and `body` returns the next values."""
        before, head, after = self._block, self.label(), self.label()
        self.do(f"br label %{head}")
        self.start(head)
        self._names += 1
        index = f"%i{self._names}"
        phis = [f"%c{self._names}_{n}" for n in range(len(carried))]
        place = len(self._lines)
        results = body(index, phis)
        following = self.add(index, 1)
        latch = self._block
        lines = [f"  {index} = phi i64 [ {start}, %{before} ], [ {following}, %{latch} ]"]
        lines += [f"  {p} = phi {t} [ {first}, %{before} ], [ {r}, %{latch} ]" for p, (t, first), r in zip(phis, carried, results, strict=True)]
        self._lines[place:place] = lines
        again = self.let(f"icmp slt i64 {following}, {stop}")
        self.do(f"br i1 {again}, label %{head}, label %{after}")
        self.start(after)
        return results

    def while_(self, condition: Callable[[], str], body: Callable[[], None]) -> None:
        test, inside, after = self.label(), self.label(), self.label()
        self.do(f"br label %{test}")
        self.start(test)
        self.do(f"br i1 {condition()}, label %{inside}, label %{after}")
        self.start(inside)
        body()
        self.do(f"br label %{test}")
        self.start(after)

    def if_(self, condition: str, body: Callable[[], object], *, returns: bool = False) -> None:
        inside, after = self.label(), self.label()
        self.do(f"br i1 {condition}, label %{inside}, label %{after}")
        self.start(inside)
        body()
        if not returns:
            self.do(f"br label %{after}")
        self.start(after)
