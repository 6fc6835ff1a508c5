"""The process that decoding processes are forked from: it has imported what they need, and opens nothing.

A fork takes milliseconds and shares these pages; a start of Python takes a fifth of a second and 35 MB.
"""

import gc
import mmap
import os
import pickle
import signal
import socket
import sys

import tifffile  # noqa: F401  # imported once, for all that are forked

import ultraread.datasets.formats.raster
import ultraread.datasets.formats.tiff  # noqa: F401
from ultraread.serving.decoding.nursery_words import Birth
from ultraread.serving.decoding.readable import of_code
from ultraread.serving.decoding.sandbox import die_with, wall_in
from ultraread.serving.decoding.worker import become_worker

BIRTH = 1
"""One byte beside the descriptor of the new process; without a descriptor, there is none."""


def main(descriptor: int) -> None:
    """Fork until the service is gone: then this process ends, and with it whatever it forked."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the service decides when it is over
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    control = socket.socket(fileno=descriptor)
    gc.collect()
    gc.freeze()
    while True:
        told, descriptors, _, _ = socket.recv_fds(control, 2**16, 2)
        if not told:
            return
        _fork(control, pickle.loads(told), descriptors)  # noqa: S301  # the service's own words
        for each in descriptors:
            os.close(each)


def _fork(control: socket.socket, birth: Birth, descriptors: list[int]) -> None:
    nursery = os.getpid()
    try:
        of_code(tuple(birth.path))  # once, for all that are forked
        child = os.fork()
    except OSError:
        control.sendall(bytes([BIRTH]))
        return
    if child == 0:
        try:
            control.close()
            _live(birth, descriptors, nursery)
        finally:
            os._exit(0)
    _tell(control, child)


def _tell(control: socket.socket, child: int) -> None:
    try:
        handle = os.pidfd_open(child)
    except ProcessLookupError:  # gone already: its channel says so
        control.sendall(bytes([BIRTH]))
        return
    socket.send_fds(control, [bytes([BIRTH])], [handle])
    os.close(handle)


def _live(birth: Birth, descriptors: list[int], nursery: int) -> None:
    die_with(nursery)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    quiet = os.open(os.devnull, os.O_RDWR)
    for each in (sys.stdin, sys.stdout, sys.stderr):
        os.dup2(quiet, each.fileno())  # what a library prints may name the slide
    memory = mmap.mmap(descriptors[1], birth.shared_bytes) if birth.shared_bytes else None
    wall_in(birth.memory_bytes)
    become_worker(socket.socket(fileno=descriptors[0]), memory, birth.path)
