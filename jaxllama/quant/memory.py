"""Where packed weights come to lie: in memory of this process, or in a file that all processes with the same model map.

The layout on the device is a permutation of the model file's bytes, so the model file itself cannot be mapped. `PackedFile` is a copy in the device layout,
made when a model is loaded for the first time. Later it is mapped: nothing is packed, and its pages exist once, however many processes use them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import mmap
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

import numpy as np

from jaxllama.environment import thread_count

from . import layout
from .block import LANES, BlockFormat

_log = logging.getLogger(__name__)

LAYOUT_VERSION = 2  # to be raised when the device layout of any format, or the order in which models are loaded, changes
LEAST_BYTES = 64 * 2**20  # smaller models are packed in no time
_MAGIC = b"jaxllama packed weights\n"
_PAGE = max(mmap.ALLOCATIONGRANULARITY, 4096)
_PIECE = 2**20  # bytes packed at a time
_SUFFIX, _PARTIAL = ".packed", ".partial"
_ABANDONED = 600  # seconds without a write after which a partial file belongs to nobody
# Whether mapped files can be renamed; if not, a file has its name from the start, and the header, written last, says that it is whole.
_RENAMES = os.name != "nt"

Shape = tuple[int, int, int]


class Stale(Exception):
    """A packed file is not what it should be."""


class Memory:
    """Memory of this process."""

    def fill(self, format_: BlockFormat, shape: Shape, matrices: Iterable[np.ndarray], byte_order: str) -> list[np.ndarray]:
        """The parts of a stack of packed matrices.

        Args:
            shape: (stack, rows, columns).
            matrices: as many uint8[rows, row bytes] as the stack is high.
        """
        arrays = layout.allocate(format_, *shape)
        _in_pieces(format_, shape, matrices, lambda index, row, rows: layout.pack_into(arrays, index, format_, rows, byte_order, row))
        return arrays

    def close(self) -> None:
        """All stacks have been asked for."""

    def abandon(self) -> None:
        """Loading failed."""


def _in_pieces(format_: BlockFormat, shape: Shape, matrices: Iterable[np.ndarray], work: Callable[[int, int, np.ndarray], None]) -> None:
    """Call work(number of a matrix, first row, rows) for pieces of every matrix, on all cores; pieces are so small that they stay in a processor's cache.

    Raises:
        ValueError: there are more or fewer matrices than the stack is high, or one is not as large as the others.
    """
    expected, size = shape[0], (shape[1], shape[2] // format_.type.weights * format_.type.bytes)
    count = 0
    with ThreadPoolExecutor(thread_count()) as pool:
        for matrix in matrices:
            if count == expected:
                raise ValueError(f"expected {expected} matrices, found more")
            if matrix.shape != size or matrix.dtype != np.uint8:
                raise ValueError(f"matrix {count} of the stack is {matrix.dtype}{list(matrix.shape)}, expected uint8{list(size)}")
            step = max(LANES, _PIECE // matrix.shape[1] // LANES * LANES)
            starts = range(0, len(matrix), step)
            list(pool.map(lambda row, matrix=matrix, step=step, count=count: work(count, row, matrix[row : row + step]), starts))
            count += 1
    if count != expected:
        raise ValueError(f"expected {expected} matrices, found {count}")


class PackedFile(Memory):
    """A file with a page of header and then all parts, in the order in which they were asked for, each from the beginning of a page.

    Attributes:
        path: where the file is, or will be once it is complete.
        complete: whether it was there already.
    """

    def __init__(self, path: Path, *, size: int, limit: int, compare: bool = False):
        """Open the file, or begin it.

        Args:
            path: of the file; `packed_path` makes one.
            size: bytes it will have, about.
            limit: bytes that all packed files in the folder may have together; those used longest ago make room.
            compare: hold every byte of a file that was there against the model.

        Raises:
            OSError: there is no room, or the folder cannot be written.
        """
        self.path, self.end, self._compare = path, _PAGE, compare
        self._whole: mmap.mmap | None = None
        self._digest = hashlib.sha256(str(LAYOUT_VERSION).encode())
        self._local, self._seeking = threading.local(), threading.Lock()
        self.complete = path.exists()
        if self.complete and not path.is_file():  # a pipe would be waited for
            raise OSError(f"{path} is there, and is no file")
        if self.complete:
            self._file: IO[bytes] = path.open("rb")
            with contextlib.suppress(OSError):  # a folder that others fill is used all the same
                os.utime(path)
            self._size = os.fstat(self._file.fileno()).st_size
            return
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        make_room(path.parent, size, limit)
        if not _RENAMES:
            self._partial, self._file = path, path.open("x+b")
            return
        descriptor, name = tempfile.mkstemp(_PARTIAL, path.stem + ".", path.parent)
        self._partial, self._file = Path(name), os.fdopen(descriptor, "r+b")

    def fill(self, format_: BlockFormat, shape: Shape, matrices: Iterable[np.ndarray], byte_order: str) -> list[np.ndarray]:
        places = []
        for part in format_.parts:
            form, dtype = layout.device_shape(format_, part, *shape), layout.host_dtype(part)
            places.append((self.end, form, dtype))
            self.end += -(-int(np.prod(form)) * dtype.itemsize // _PAGE) * _PAGE
        own = "" if format_.numbers is None else f" {format_.parts}"  # a format of the user's own may be another one tomorrow
        self._digest.update(f"{format_.name} {shape} {self.end}{own}\n".encode())
        if self.complete:
            if self.end > self._size:
                raise Stale(f"{self.path} is shorter than the model")
        else:
            os.ftruncate(self._file.fileno(), self.end)
        if not self.complete or self._compare:
            put, offsets = self._checked_at if self.complete else self._write_at, [offset for offset, *_ in places]
            _in_pieces(format_, shape, matrices, lambda index, row, rows: self._put(put, format_, shape, index, row, rows, offsets, byte_order))
        return [self._mapped(*place) for place in places]

    def _checked_at(self, data: memoryview, at: int) -> None:
        """Raises Stale where the file has other bytes."""
        if self._whole is None:
            self._whole = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        if self._whole[at : at + len(data)] != data:
            raise Stale(f"{self.path} is damaged: it does not hold the weights of the model")

    def _put(
        self,
        put: Callable[[memoryview, int], None],
        format_: BlockFormat,
        shape: Shape,
        index: int,
        row: int,
        rows: np.ndarray,
        offsets: Sequence[int],
        byte_order: str,
    ) -> None:
        """Pack rows of matrix `index` and put them into the parts that begin at the offsets."""
        packed = self._staging(format_, len(rows), shape[2])
        layout.pack_into(packed, 0, format_, rows, byte_order)
        lines = 1 if format_.dense else LANES  # rows that lie together
        for part, offset in zip(packed, offsets, strict=True):
            at = offset + (index * -(-shape[1] // lines) + row // lines) * part[0, 0].nbytes
            put(part.reshape(-1).view(np.uint8).data, at)

    def _write_at(self, data: memoryview | bytes, at: int) -> None:
        descriptor = self._file.fileno()
        while data:
            if hasattr(os, "pwrite"):
                written = os.pwrite(descriptor, data, at)
            else:  # Windows has no such call
                with self._seeking:
                    os.lseek(descriptor, at, os.SEEK_SET)
                    written = os.write(descriptor, data)
            data, at = data[written:], at + written

    def _staging(self, format_: BlockFormat, rows: int, columns: int) -> list[np.ndarray]:
        """Arrays of this thread for a piece; used again for the next one, since fresh memory costs more than packing does."""
        key = format_.name, rows, columns
        if getattr(self._local, "key", None) != key:
            self._local.key, self._local.arrays = key, layout.allocate(format_, 1, rows, columns)
        return self._local.arrays

    def _mapped(self, offset: int, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        nbytes = int(np.prod(shape)) * dtype.itemsize
        mapped = mmap.mmap(self._file.fileno(), nbytes, access=mmap.ACCESS_READ, offset=offset)
        if hasattr(mmap, "MADV_WILLNEED"):
            mapped.madvise(mmap.MADV_WILLNEED)
        return np.frombuffer(mapped, dtype).reshape(shape)

    def _header(self) -> bytes:
        return _MAGIC + json.dumps({"layout": self._digest.hexdigest(), "bytes": self.end}).encode()

    def close(self) -> None:
        """Compare the header of a complete file; finish a new one, in a thread, when all of it is on the disk.

        Raises:
            Stale: the file belongs to other weights, or was not written whole.
        """
        if self.complete:
            header = self._file.read(_PAGE).rstrip(b"\0")
            self._file.close()
            if header != self._header():
                raise Stale(f"{self.path} holds other weights")
            return
        threading.Thread(target=self._finish, name="packed file").start()

    def _finish(self) -> None:
        try:
            os.fsync(self._file.fileno())
            self._write_at(self._header(), 0)
            self._file.close()
            if _RENAMES:
                os.replace(self._partial, self.path)
        except OSError as error:
            _log.warning("%s: the copy of the weights could not be written: %s", self.path, error)
            self._file.close()
            _deleted(self._partial)

    def abandon(self) -> None:
        self._file.close()
        _deleted(self.path if self.complete else self._partial)


def _deleted(path: Path) -> bool:
    """Delete a file if possible: Windows does not while somebody has it open, and its folder may be gone or be none any more."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        _log.info("%s stays for now: %s", path, error)
        return False
    return True


def packed_path(folder: Path, files: Iterable[Path]) -> Path:
    """The packed file of a model: its name depends on which files the model's are, how long they are and when they were changed.

    The time that programs can set is not enough: copying with `-p`, unpacking and synchronising put other contents under an old time.
    """
    seen = []
    for file in files:
        status = file.stat()
        seen.append([str(file.resolve()), status.st_size, status.st_mtime_ns, status.st_ino, status.st_ctime_ns])
    key = hashlib.sha256(json.dumps([LAYOUT_VERSION, seen]).encode()).hexdigest()[:24]
    return folder / (key + _SUFFIX)


def make_room(folder: Path, nbytes: int, limit: int) -> None:
    """Delete the packed files used longest ago until `nbytes` more fit the limit, and what processes that were killed have left.

    Raises:
        OSError: they do not fit at all, or the disk would be nearly full.
    """
    if nbytes > limit:
        raise OSError(f"the weights need {nbytes / 1e9:.1f} GB, and JAXLLAMA_PACKED_GB allows {limit / 1e9:.1f} GB for all models")
    kept, total = [], 0
    for file in folder.iterdir():
        try:
            status = file.stat()
        except FileNotFoundError:  # another process has finished or deleted it
            continue
        if file.suffix == _PARTIAL and time.time() - status.st_mtime > _ABANDONED:
            _deleted(file)
            continue
        total += status.st_size
        if file.suffix == _SUFFIX:
            kept.append((status.st_mtime, status.st_size, file))
    kept.sort(key=lambda entry: entry[0])
    for _, size, file in kept:
        if total + nbytes <= limit:
            break
        total -= size if _deleted(file) else 0
    free = shutil.disk_usage(folder).free
    if free < 1.5 * nbytes:
        raise OSError(f"the disk has {free / 1e9:.1f} GB left, the weights need {nbytes / 1e9:.1f} GB and some to spare")
