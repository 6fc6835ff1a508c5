"""Settings that would expose patient data do not come to be."""

import pickle
from pathlib import Path

import pytest

from ultraread.errors import ConfigInsecure, RequestInvalid
from ultraread.serving.settings import Settings, load_settings, prepare_folders


@pytest.fixture(autouse=True)
def _no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"ULTRAREAD_{name.upper()}", raising=False)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_loopback_addresses_are_taken(host: str) -> None:
    assert load_settings(host=host).host == host


@pytest.mark.parametrize(
    "host",
    ["0.0.0.0", "::", "192.168.1.4", "em.hospital.example", "", "::1", "127.0.0.2"],  # noqa: S104  # refused
)
def test_any_other_address_is_refused(host: str) -> None:
    with pytest.raises(ConfigInsecure):
        load_settings(host=host)


def test_a_lease_that_one_late_heartbeat_loses_is_refused() -> None:
    with pytest.raises(RequestInvalid, match="lease"):
        load_settings(lease_s=10, heartbeat_s=5)


def test_command_line_beats_environment_beats_file_beats_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "ultraread.toml"
    config.write_text('port = 1001\nrange_tiles = 64\nmax_attempts = 5\nmodels = ["a", "b/1.0.0"]\n')
    monkeypatch.setenv("ULTRAREAD_PORT", "1002")
    monkeypatch.setenv("ULTRAREAD_RANGE_TILES", "32")
    settings = load_settings(config, port=1003, range_tiles=None)
    assert (settings.port, settings.range_tiles, settings.max_attempts, settings.replicas) == (1003, 32, 5, 1)
    assert settings.models == ("a", "b/1.0.0")


@pytest.mark.parametrize("text", ["prot = 8000", "port = 'many'", "port = 70000", "port = ["])
def test_a_file_with_a_mistake_is_refused(tmp_path: Path, text: str) -> None:
    config = tmp_path / "ultraread.toml"
    config.write_text(text)
    with pytest.raises(RequestInvalid):
        load_settings(config)


def test_everything_lies_below_the_data_folder_which_only_its_owner_enters(tmp_path: Path) -> None:
    settings = load_settings(data_dir=tmp_path / "data")
    prepare_folders(settings)
    assert settings.data_dir.stat().st_mode & 0o077 == 0
    assert settings.slides_dir.is_dir()
    assert settings.database_address == f"sqlite:///{tmp_path}/data/ultraread.db"
    assert settings.result_dir("r1", 2) == tmp_path / "data/reads/r1/result-2"


ADDRESS = "postgresql://ultraread:hunter2@db.example/reads"


def test_the_address_of_a_database_comes_from_a_file_of_its_owner(tmp_path: Path) -> None:
    file = tmp_path / "database_url"
    file.write_text(f"{ADDRESS}\n")
    file.chmod(0o600)
    settings = load_settings(database_url_file=file)
    assert settings.database_address == ADDRESS
    assert settings.has_database


def test_an_address_that_others_may_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "database_url"
    file.write_text(ADDRESS)
    file.chmod(0o640)
    with pytest.raises(ConfigInsecure, match="others may read"):
        _ = load_settings(database_url_file=file).database_address


def test_an_address_is_stated_once_and_never_shown(tmp_path: Path) -> None:
    settings = load_settings(database_url=ADDRESS)
    assert settings.database_address == ADDRESS
    assert "hunter2" not in f"{settings} {settings!r} {settings.model_dump_json()}"
    with pytest.raises(RequestInvalid, match="both"):
        load_settings(database_url=ADDRESS, database_url_file=tmp_path / "file")


@pytest.mark.parametrize("mode", [0o777, 0o755, 0o750, 0o701])
def test_a_data_folder_that_others_may_enter_is_refused_and_left_as_it_is(tmp_path: Path, mode: int) -> None:
    tmp_path.chmod(mode)
    with pytest.raises(ConfigInsecure, match="others") as refused:
        prepare_folders(load_settings(data_dir=tmp_path))
    assert "chmod 700" in refused.value.remedy
    assert list(tmp_path.iterdir()) == []
    tmp_path.chmod(0o700)
    prepare_folders(load_settings(data_dir=tmp_path))


def test_a_data_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigInsecure):
        prepare_folders(load_settings(data_dir=tmp_path / "file" / "data"))


def test_settings_travel_to_other_processes_whole(tmp_path: Path) -> None:
    settings = load_settings(data_dir=tmp_path, port=1001)
    assert pickle.loads(pickle.dumps(settings)) == settings  # noqa: S301  # our own bytes


def test_every_setting_says_what_it_is_for() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []
