"""A stream for libraries that take a short read for zeros."""

import io
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class WholeReads(io.RawIOBase):
    """Reads exactly what is asked for. Raises OSError where the file ends before; owns the stream below."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        wanted = memoryview(buffer).cast("B")
        stored = self._stream.read(len(wanted))
        if len(stored) != len(wanted):
            raise OSError("the file is cut off")
        wanted[:] = stored
        return len(stored)

    def close(self) -> None:
        if not self.closed:
            self._stream.close()
        super().close()
