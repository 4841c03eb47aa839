"""`block_records.npy` of transformers 4.37.2: read without running what is pickled in it, and written.

The file is an npy header and then a pickle: an array of Python `bytes`, one per block. The released one has
13,353,718 of them in 12.6 GB, so `iterate_block_records` gives them one by one. Knows no block store.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from realm.errors import SourceError, UnsafeFileError, UsageError
from realm.interop.array_pickle import ArrayPickle

_HEADER_BYTES: Final = 128
_BATCH_RECORDS: Final = 1000
_LET_GO_BYTES: Final = 1 << 26

# What numpy pickles for an object array, with a length of eight bytes wherever the number of records stands.
# numpy.core is the old home of _reconstruct: numpy 1 and 2 both find it there.
_PICKLE_HEAD: Final = (
    b"\x80\x04"  # protocol 4
    # _reconstruct(ndarray, (0,), b"b")
    b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R"
    # its state: version 1, shape (count,),
    b"(K\x01\x8a\x08%s\x85"
    # dtype("O8", False, True) with the state (3, "|", None, None, None, -1, -1, 63),
    b"cnumpy\ndtype\nX\x02\x00\x00\x00O8\x89\x88\x87R"
    b"(K\x03X\x01\x00\x00\x00|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK?tb"
    # order False, and the list of records
    b"\x89]"
)
_PICKLE_TAIL: Final = b"tb."


def read_block_records(path: Path) -> NDArray[np.object_]:
    """All records of a `block_records.npy`, as an array of `bytes`.

    Args:
        path: The file: an array of objects, or of byte strings of fixed width (`|S`), in one dimension.

    Raises:
        UnsafeFileError: The file asks for anything but such an array; the message names it. Nothing has been
            run.
        SourceError: The file is missing, cut off, damaged, or holds something else than byte strings.
    """
    count = count_block_records(path)
    records = np.empty(count, dtype=np.object_)
    filled = 0
    for batch in _batches(path):
        if filled + len(batch) > count:
            raise SourceError(f"{path}: its header announces {count} records, and more follow")
        records[filled : filled + len(batch)] = batch
        filled += len(batch)
    return records


def iterate_block_records(path: Path) -> Iterator[bytes]:
    """The records of a `block_records.npy` in order, read as they are asked for: memory does not grow with
    the file.

    Records before a damage have been given out when the error comes; arguments and errors as for
    `read_block_records`.
    """
    for batch in _batches(path):
        yield from batch


def count_block_records(path: Path) -> int:
    """How many records a `block_records.npy` announces; arguments and errors as for `read_block_records`."""
    with _opened(path) as file:
        return _header(file, path)[1]


def write_block_records(path: Path, records: Iterable[bytes]) -> int:
    """Write `records` as a `block_records.npy` that numpy 1 and 2, and so transformers 4.37.2, read.

    Args:
        path: Replaced only when all is written.
        records: Any number of byte strings; only a batch of them is held in memory.

    Returns:
        How many were written.

    Raises:
        UsageError: A record is not `bytes`.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(_header_and_head(0))
            count = 0
            records = iter(records)
            while batch := list(islice(records, _BATCH_RECORDS)):
                file.write(b"(" + b"".join(map(_pickled, batch)) + b"e")
                count += len(batch)
            file.write(_PICKLE_TAIL)
            file.seek(0)  # now the number is known
            file.write(_header_and_head(count))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return count


def _header_and_head(count: int) -> bytes:
    text = f"{{'descr': '|O', 'fortran_order': False, 'shape': ({count},), }}".encode("ascii")
    header = b"\x93NUMPY\x01\x00" + (_HEADER_BYTES - 10).to_bytes(2, "little") + text.ljust(_HEADER_BYTES - 11) + b"\n"
    return header + _PICKLE_HEAD % count.to_bytes(8, "little")


def _pickled(record: bytes) -> bytes:
    if not isinstance(record, bytes):
        raise UsageError(f"a record is of type {type(record).__name__}; expected bytes, as in text.encode()")
    count = len(record)
    if count < 1 << 8:
        return b"C" + count.to_bytes(1, "little") + record
    if count < 1 << 32:
        return b"B" + count.to_bytes(4, "little") + record
    return b"\x8e" + count.to_bytes(8, "little") + record


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as exc:
        raise SourceError(f"{path} cannot be read: {exc.strerror}") from exc


def _header(file: BinaryIO, path: Path) -> tuple[np.dtype[Any], int]:
    """Type and number of the records; the file then stands after the header."""
    size = os.fstat(file.fileno()).st_size
    try:
        version = np.lib.format.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise SourceError(f"{path}: npy version {version[0]}.{version[1]}; known are 1.0 and 2.0")
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
    except SourceError:
        raise
    except Exception as exc:  # numpy lets through whatever its parser of the header's text raises
        raise SourceError(f"{path} is not an npy file, or its header is damaged; expected block_records.npy") from exc
    if len(shape) != 1:
        raise SourceError(f"{path}: an array of shape {shape}; expected one dimension")
    if not 0 <= shape[0] <= size:  # not even a byte for each
        raise SourceError(f"{path}: its header announces {shape[0]} records, but the file has {size} bytes")
    return dtype, shape[0]


def _batches(path: Path) -> Iterator[list[bytes]]:
    with _opened(path) as file:
        dtype, count = _header(file, path)
        start = file.tell()
        if dtype.kind == "S" and dtype.itemsize:
            yield from _fixed_width(file, path, dtype, count)
            return
        if dtype != np.dtype(object):
            raise SourceError(f"{path}: an array of {dtype}; expected byte strings (|O or |S)")
        found = 0
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            try:
                reader = ArrayPickle(data, start)
                let_go = 0
                for batch in reader.batches():
                    found += len(batch)
                    yield batch
                    if reader.position - let_go >= _LET_GO_BYTES:
                        let_go = _let_go(data, let_go, reader.position)
            except UnsafeFileError as exc:
                raise UnsafeFileError(f"{path}: {exc}") from None
            except SourceError as exc:
                raise SourceError(f"{path}: {exc}") from exc
    if found != count:
        raise SourceError(f"{path}: its header announces {count} records and its pickle holds {found}")


def _let_go(data: mmap.mmap, start: int, position: int) -> int:
    """Count what has been read no longer as memory of this process, where the system can; gives the new start."""
    end = position // mmap.PAGESIZE * mmap.PAGESIZE
    if hasattr(mmap, "MADV_DONTNEED"):
        data.madvise(mmap.MADV_DONTNEED, start, end - start)
    return end


def _fixed_width(file: BinaryIO, path: Path, dtype: np.dtype[Any], count: int) -> Iterator[list[bytes]]:
    """Records of a plain array. numpy drops the zero bytes at their ends, which stand for no byte there."""
    there = (os.fstat(file.fileno()).st_size - file.tell()) // dtype.itemsize
    if there < count:
        raise SourceError(f"{path} is cut off: {there} of its {count} records are there")
    for start in range(0, count, _BATCH_RECORDS):
        data = file.read(min(_BATCH_RECORDS, count - start) * dtype.itemsize)
        yield np.frombuffer(data, dtype=dtype).tolist()
