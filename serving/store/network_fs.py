"""Is a folder on a network file system? SQLite's log and locks do not hold there."""

from pathlib import Path

from ultraread.errors import SqliteOnNetworkFs

MOUNTS = Path("/proc/self/mounts")
NETWORK_KINDS = frozenset({
    "9p", "afs", "beegfs", "ceph", "cifs", "coda", "davfs", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs",
    "nfs4", "ocfs2", "orangefs", "prl_fs", "smb2", "smb3", "smbfs", "vboxsf", "virtiofs",
})  # fmt: skip
LOCAL_FUSE = frozenset({"fuse.ext2", "fuse.ntfs", "fuse.ntfs-3g", "fuse.exfat", "fuse.mergerfs", "fuseblk"})
"""What is mounted through FUSE and lies on this machine all the same; any other one (sshfs, s3fs, rclone) may
be anywhere.
"""


def refuse_network_fs(folder: Path) -> None:
    """Raise SqliteOnNetworkFs. Where the system does not tell its mounts, nothing is refused."""
    if not MOUNTS.is_file():
        return
    kind = kind_of(folder.resolve(), MOUNTS.read_text(errors="surrogateescape"))
    if is_network(kind):
        raise SqliteOnNetworkFs(f"the database would lie on a network file system ({kind})")


def kind_of(path: Path, mounts: str) -> str:
    """The kind of file system that holds an absolute path, by the text of /proc/mounts; "" if none does.

    The last line counts of those that are mounted at the same place: it hides the others.
    """
    holding = [(len(at.parts), n, kind) for n, (at, kind) in enumerate(_mounted(mounts)) if _holds(at, path)]
    return max(holding)[2] if holding else ""


def is_network(kind: str) -> bool:
    """Does this kind of file system keep its files on another machine, or on one that it does not tell?"""
    return kind in NETWORK_KINDS or (kind.startswith("fuse.") and kind not in LOCAL_FUSE)


def _mounted(mounts: str) -> list[tuple[Path, str]]:
    lines = [line.split(" ") for line in mounts.splitlines()]
    return [(Path(_unescaped(fields[1])), fields[2]) for fields in lines if len(fields) > 2]


def _holds(at: Path, path: Path) -> bool:
    return at == path or at in path.parents


def _unescaped(name: str) -> str:
    """The kernel writes blanks in names as octal numbers."""
    for number, meant in (("040", " "), ("011", "\t"), ("012", "\n"), ("134", "\\")):
        name = name.replace(f"\\{number}", meant)
    return name
