"""SQLite is refused where its locks do not hold."""

from pathlib import Path

import pytest

from ultraread.errors import SqliteOnNetworkFs
from ultraread.serving.store import network_fs
from ultraread.serving.store.engine import open_store
from ultraread.serving.store.network_fs import is_network, kind_of, refuse_network_fs

MOUNTS = r"""/dev/vda / ext4 rw,relatime 0 0
proc /proc proc rw 0 0
server:/reads /srv/reads nfs4 rw,vers=4.2 0 0
//server/share /srv/two\040words cifs rw 0 0
me@host:/ /srv/ssh fuse.sshfs rw 0 0
tmpfs /srv/reads/scratch tmpfs rw 0 0
/dev/sdb /mnt/hidden ext4 rw 0 0
bucket /mnt/hidden fuse.s3fs rw 0 0
/dev/sdc /mnt/usb fuseblk rw 0 0
"""


@pytest.mark.parametrize(
    ("folder", "kind", "refused"),
    [
        ("/home/me", "ext4", False),
        ("/srv/reads", "nfs4", True),
        ("/srv/reads/data/deep", "nfs4", True),
        ("/srv/reads-of-mine", "ext4", False),
        ("/srv/reads/scratch/x", "tmpfs", False),
        ("/srv/two words/x", "cifs", True),
        ("/srv/ssh", "fuse.sshfs", True),
        ("/mnt/hidden/x", "fuse.s3fs", True),
        ("/mnt/usb", "fuseblk", False),
    ],
)
def test_the_mount_that_holds_a_folder_decides(folder: str, kind: str, refused: bool) -> None:
    assert (kind_of(Path(folder), MOUNTS), is_network(kind)) == (kind, refused)


def test_this_machine_s_own_disk_is_taken(tmp_path: Path) -> None:
    refuse_network_fs(tmp_path)
    assert kind_of(tmp_path.resolve(), network_fs.MOUNTS.read_text()) != ""


def test_a_database_on_a_network_file_system_is_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mounts").write_text(f"server:/reads {tmp_path} nfs rw 0 0\n")
    monkeypatch.setattr(network_fs, "MOUNTS", tmp_path / "mounts")
    with pytest.raises(SqliteOnNetworkFs, match="nfs") as refused:
        open_store(f"sqlite:///{tmp_path}/ultraread.db")
    assert refused.value.code == "config_sqlite_on_network_fs"
    assert str(tmp_path) not in refused.value.what
    assert not (tmp_path / "ultraread.db").exists()
