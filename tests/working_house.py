"""A service without HTTP and Ray that files slides and reads them: what storage has to keep."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from addresses import together
from simulated import simulated_tissue, write_tiff
from tiny_model import tiny_model

from ultraread.datasets.open_slide import open_slide
from ultraread.datasets.slide_digest import digest_in_blocks
from ultraread.models.classifier import OnnxClassifier
from ultraread.models.registry import ModelFolder
from ultraread.serving.conclusion import conclude_read
from ultraread.serving.live_models import ServedModel
from ultraread.serving.runner import ReadRunner
from ultraread.serving.score_tiles import RangeScorer, RangeScores, RangeTask
from ultraread.serving.settings import load_settings, prepare_folders
from ultraread.serving.storage.house import House
from ultraread.serving.storage.slide_store import open_slide_store, stored_names
from ultraread.serving.store.engine import open_store
from ultraread.serving.store.ids import new_id
from ultraread.serving.store.jobs import Jobs, NewRead
from ultraread.serving.store.records import NewSlide, file_slide
from ultraread.serving.store.stored import keep
from ultraread.serving.store.tables import ReadRow, StoredKind

Score = Callable[[Iterable[RangeTask]], Iterator[RangeScores]]
SCALE = {"nm_per_px": 4.6, "tolerance": 0.05, "reason": "as Dr Example said"}


@dataclass(frozen=True, slots=True)
class WorkingHouse:
    """Its parts; `folder` is where a test's own files may lie."""

    folder: Path
    house: House
    jobs: Jobs
    model: ModelFolder
    scorer: RangeScorer

    def slide(self) -> Path:
        """A small slide of its own."""
        seed = len(list(self.folder.glob("*.tif")))
        return write_tiff(self.folder / f"{seed}.tif", simulated_tissue(96, 64, seed=seed))

    def file(self, *paths: Path) -> str:
        """File slides as the service does; return the slide's id."""
        paths = paths or (self.slide(),)
        (digest, digested), slide_id = digest_in_blocks(together(*paths)), new_id()
        blocks = b"".join(file.blocks.sha256s for file in digested.files if file.blocks)
        files = tuple(asdict(file) for file in digest.files)
        open_slide_store(self.house.settings).put(slide_id, files, paths)
        with open_slide(together(*paths)) as slide:
            images = tuple({"index": image.index} for image in slide.info.images)
        with self.house.store.writing() as session:
            slide = NewSlide(slide_id, digest.sha256, "tiff", files, images, blocks=blocks)
            file_slide(session, slide, "a test")
            kept = [asdict(file) for file in stored_names(slide_id, files)]
            keep(session, StoredKind.SLIDE, slide_id, kept, self.house.settings.retention_days)
        return slide_id

    def request(self, *slide_ids: str) -> str:
        card = self.model.card
        read = NewRead(
            id=new_id(), case_id=None, slide_ids=slide_ids, slide_sha256s=(), model_name=card.name,
            model_version=card.version, model_onnx_sha256=card.sha256,
            model_card_sha256=self.model.card_sha256, request={"region": None, "scale": SCALE},
        )  # fmt: skip
        return self.jobs.enqueue(read, "a test").id

    def run(self, score: Score | None = None) -> bool:
        served = ServedModel(self.model, score or (lambda tasks: map(self.scorer, tasks)))
        settings = self.house.settings
        return ReadRunner(settings, self.jobs, lambda *_: served, conclude_read, "a runner").run_next()

    def read(self, slide_id: str) -> str:
        """Read the slide to its end; return the read's id."""
        read_id = self.request(slide_id)
        assert self.run()
        assert self.row(read_id).state == "succeeded", self.row(read_id).error_what
        return read_id

    def row(self, read_id: str) -> ReadRow:
        with self.house.store.reading() as session:
            return session.get_one(ReadRow, read_id)


@contextmanager
def working_house(folder: Path, **settings: object) -> Iterator[WorkingHouse]:
    """Open one below this folder; `settings` are those of the service."""
    folder.mkdir(exist_ok=True)
    stated: dict[str, object] = {
        "data_dir": folder / "data",
        "range_tiles": 4,
        "heartbeat_s": 0.05,
        "lease_s": 5,
    }
    house_settings = load_settings(**(stated | settings))
    prepare_folders(house_settings)
    model = tiny_model(folder / "model")
    store = open_store(house_settings.database_address)
    jobs = Jobs(
        store,
        house_settings.lease_s,
        house_settings.max_attempts,
        retention_days=house_settings.retention_days,
    )
    scorer = RangeScorer(OnnxClassifier(model, threads=1))
    try:
        yield WorkingHouse(folder, House(house_settings, store), jobs, model, scorer)
    finally:
        scorer.close()
        store.close()
