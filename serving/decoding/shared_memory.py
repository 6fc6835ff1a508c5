"""Memory that the service and its decoding processes both see: pixels lie there and never travel."""

import fcntl
import mmap
import os
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


class SharedMemory:
    """`size` bytes without a name, which end with the last process that has them; pages come when touched.

    Nobody can shrink it: the kernel kills whoever then reads beyond the end.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.descriptor = os.memfd_create("ultraread-pixels", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(self.descriptor, size)
            fcntl.fcntl(self.descriptor, fcntl.F_ADD_SEALS, SEALS)
            self._mapped = mmap.mmap(self.descriptor, size)
        except BaseException:
            self.close()
            raise

    def array(self, shape: tuple[int, ...], kind: DTypeLike, offset: int = 0) -> NDArray[Any]:
        """A view. Raises ValueError where it would reach beyond the memory."""
        count = int(np.prod(shape, dtype=np.int64))
        return np.frombuffer(self._mapped, kind, count, offset).reshape(shape)

    def close(self) -> None:
        """Views stay valid; the memory goes with the last one."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1
