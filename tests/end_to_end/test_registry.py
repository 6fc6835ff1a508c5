"""Promotion while the service runs: no read is lost, none is of two versions, nothing is started again."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from command_line import ultraread
from end_to_end.conftest import SCALE
from real_parts import listening_beyond_loopback
from simulated import simulated_tissue, write_tiff
from versions import POLICY, evaluation_of, with_evaluation, write_version

from ultraread.datasets.scale import operator_scale
from ultraread.errors import ModelWithdrawn
from ultraread.models.classifier import OnnxClassifier
from ultraread.models.registry import ModelFolder
from ultraread.serving.client import Client
from ultraread.serving.embedded import running
from ultraread.serving.local_read import LocalReader
from ultraread.serving.mlflow_log import mlflow_client
from ultraread.serving.read_slide import ReadRequest
from ultraread.serving.score_tiles import RangeScorer
from ultraread.serving.settings import load_settings

READS = 20
RANGE_TILES = 16
WAIT_S = 150


@dataclass(frozen=True)
class House:
    """A running service with tiny/1.0.0 as champion, and two more versions that wait outside."""

    client: Client
    data_dir: Path
    first: ModelFolder
    second: ModelFolder
    worse: ModelFolder
    field: Path

    def models(self, *words: object) -> Any:  # noqa: ANN401  # what a command ended with
        return ultraread("models", *words, "--data-dir", self.data_dir)

    def ask(self, slide_id: str, **wanted: object) -> str:
        return str(self.client.request_read(slide_ids=[slide_id], scale=SCALE, **wanted)["id"])


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("registry")
    first, second, worse = (
        write_version(folder / version, version, bias)
        for version, bias in (("1.0.0", -1.0), ("2.0.0", 0.5), ("3.0.0", -3.0))
    )
    with_evaluation(second, evaluation_of(second, first))
    with_evaluation(worse, evaluation_of(worse, first, difference=-0.3))
    field = write_tiff(folder / "field.tif", simulated_tissue(512, 512), 4.6)
    settings = load_settings(
        None,
        port=0,
        data_dir=folder / "data",
        models=(str(first.path),),
        range_tiles=RANGE_TILES,
        max_running_reads=2,
        promotion_sets=POLICY.sets,
        shadow_fraction=1.0,
    )
    with (
        pytest.MonkeyPatch.context() as environment,
        running(settings) as url,
        Client(url, token_file=settings.owner_token_file) as client,
    ):
        environment.setenv("ULTRAREAD_PROMOTION_SETS", json.dumps(POLICY.sets))
        yield House(client, folder / "data", first, second, worse, field)


def test_a_promotion_under_load_loses_no_read_and_mixes_no_versions(house: House, tmp_path: Path) -> None:
    slide = house.client.file_slide([house.client.upload(house.field)])["id"]
    assert house.models("register", house.second.path).status == 0
    before = _all_but_classifiers()
    reads = [house.ask(slide) for _ in range(READS)]
    _waited_for(lambda: house.client.read(reads[2])["state"] == "succeeded")
    promoted = house.models("promote", "tiny/2.0.0", "champion", "--reason", "as good on every set")
    assert promoted.status == 0, promoted.err
    waiting = [read for read in reads if house.client.read(read)["state"] in {"queued", "running"}]
    assert waiting, "the promotion came while reads ran"
    later = [house.ask(slide) for _ in range(3)]
    ended = [house.client.wait(read) for read in (*reads, *later)]
    assert {read["state"] for read in ended} == {"succeeded"}
    assert [read["model"]["version"] for read in ended] == ["1.0.0"] * READS + ["2.0.0"] * 3
    for model in (house.first, house.second):
        here = _read_here(model, house.field, tmp_path / model.card.version)
        for read in ended:
            if read["model"]["version"] == model.card.version:
                _assert_same(house.client, read, slide, here, tmp_path)
    assert _all_but_classifiers() == before, "nothing was started again"


def test_the_old_version_is_retired_and_comes_back_for_a_read_that_names_it(house: House) -> None:
    _waited_for(lambda: _live() == {"TileClassifier-tiny-2.0.0"})
    slide = house.client.file_slide([house.client.upload(house.field)])["id"]
    read = house.client.wait(house.ask(slide, model="tiny/1.0.0"))
    assert (read["state"], read["model"]["version"]) == ("succeeded", "1.0.0")
    _waited_for(lambda: _live() == {"TileClassifier-tiny-2.0.0"})
    assert listening_beyond_loopback() == []


@pytest.mark.full
def test_a_runner_that_dies_finds_the_classifiers_that_are_there(house: House) -> None:
    slide = house.client.file_slide([house.client.upload(house.field)])["id"]
    house.client.wait(house.ask(slide))
    before = {one for one in _processes() if "TileClassifier" in " ".join(_words(one))}
    runner = next(one for one in _processes() if ":Runner" in " ".join(_words(one)))
    reads = [house.ask(slide) for _ in range(3)]
    runner.kill()
    assert {house.client.wait(read)["state"] for read in reads} == {"succeeded"}
    assert {one for one in _processes() if "TileClassifier" in " ".join(_words(one))} == before


def test_a_model_made_worse_is_refused_and_the_alias_stays(house: House) -> None:
    house.models("register", house.worse.path)
    refused = house.models("promote", "tiny/3.0.0", "champion", "--reason", "hope")
    assert (refused.status, refused.err[:26]) == (5, "error[promotion_refused]: ")
    assert house.models("card", "tiny@champion", "--json").printed["version"] == "2.0.0"
    slide = house.client.file_slide([house.client.upload(house.field)])["id"]
    assert house.client.read(house.ask(slide))["model"]["version"] == "2.0.0"


def test_a_shadow_repeats_a_read_and_only_mlflow_hears_of_it(house: House) -> None:
    assert house.models("promote", "tiny/3.0.0", "shadow", "--reason", "to be looked at").status == 0
    slide = house.client.file_slide([house.client.upload(house.field)])["id"]
    read = house.client.wait(house.ask(slide))
    _waited_for(lambda: _shadow_runs(house.data_dir, read["id"]))
    (run,) = _shadow_runs(house.data_dir, read["id"])
    assert (run.data.tags["model_version"], run.data.tags["shadow_version"]) == ("2.0.0", "3.0.0")
    assert run.data.metrics["T-BRIGHT.score_difference"] < -0.1
    told = json.dumps([house.client.read(read["id"]), house.client.findings(read["id"])])
    assert house.worse.card.sha256 not in told
    assert "shadow" not in told
    assert list((house.data_dir / "shadows").iterdir()) == []
    assert house.client.read(read["id"])["mlflow_run_id"] != run.info.run_id


def test_a_withdrawn_champion_reads_nothing_until_another_one_is(house: House) -> None:
    slide = house.client.file_slide([house.client.upload(house.field)])["id"]
    withdrawn = house.models("withdraw", "tiny/2.0.0", "--reason", "wrong labels", "--json").printed
    assert len(withdrawn["reads"]) >= 4
    with pytest.raises(ModelWithdrawn, match="wrong labels"):
        house.ask(slide)
    assert house.models("rollback", "champion").status == 0
    read = house.client.wait(house.ask(slide))
    assert (read["state"], read["model"]["version"]) == ("succeeded", "1.0.0")


def _shadow_runs(data_dir: Path, read_id: str) -> list[Any]:
    client = mlflow_client(f"sqlite:///{data_dir}/mlflow.db")
    experiment = client.get_experiment_by_name("ultraread")
    wanted = f"tags.read_id = '{read_id}' and tags.kind = 'shadow' and attributes.status = 'FINISHED'"
    return list(client.search_runs([experiment.experiment_id], wanted))


def _read_here(model: ModelFolder, field: Path, out: Path) -> Path:
    """The result folder of the field, read in this process with the threads that the service has."""
    scorer = RangeScorer(OnnxClassifier(model, threads=2))
    request = ReadRequest(operator_scale(4.6, str(SCALE["reason"])), range_tiles=RANGE_TILES)
    (outcome,) = LocalReader(model, lambda tasks: map(scorer, tasks), out, request).read([field])
    scorer.close()
    assert outcome.error is None
    return outcome.folder


def _assert_same(client: Client, read: dict[str, Any], slide: str, here: Path, out: Path) -> None:
    """Findings and tiles are, byte for byte, those of the one version that the read was asked with."""
    client.fetch(read["id"], out / read["id"])
    folder = out / read["id"] / slide
    findings = json.loads((folder / "findings.json").read_text())
    assert findings["model"] == read["model"]
    for name in ("findings.json", "tiles.csv"):
        assert (folder / name).read_bytes() == (here / name).read_bytes()


def _waited_for(look: Callable[[], Any]) -> None:
    until = time.monotonic() + WAIT_S
    while not look():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.1)


def _processes() -> set[psutil.Process]:
    """The processes of deployments that this process's Ray started."""
    started = psutil.Process().children(recursive=True)
    return {one for one in started if "ServeReplica" in " ".join(_words(one))}


def _all_but_classifiers() -> set[psutil.Process]:
    return {one for one in _processes() if "TileClassifier" not in " ".join(_words(one))}


def _words(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.NoSuchProcess:
        return []


def _live() -> set[str]:
    """Names of the classifier deployments that have processes."""
    told = [" ".join(_words(one)) for one in _processes()]
    return {word.split(":")[-1].strip() for line in told for word in line.split() if "TileClassifier" in word}
