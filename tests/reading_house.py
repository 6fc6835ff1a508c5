"""A service without HTTP and Ray, whose one runner reads with a real model in this process."""

import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from addresses import together
from tiny_model import tiny_model

from ultraread.datasets.open_slide import open_slide
from ultraread.datasets.slide_digest import digest_slide
from ultraread.models.classifier import OnnxClassifier
from ultraread.models.registry import ModelFolder
from ultraread.serving.conclusion import conclude_read
from ultraread.serving.live_models import ServedModel
from ultraread.serving.runner import ReadRunner
from ultraread.serving.score_tiles import RangeScorer, RangeScores, RangeTask
from ultraread.serving.settings import Settings, prepare_folders
from ultraread.serving.store.engine import open_store
from ultraread.serving.store.ids import new_id
from ultraread.serving.store.jobs import Jobs, NewRead
from ultraread.serving.store.records import NewSlide, file_case, file_slide
from ultraread.serving.store.stored_name import stored_name
from ultraread.serving.store.tables import ReadRow

CASE = "C-1"
SCALE = {"nm_per_px": 4.6, "tolerance": 0.05, "reason": "as Dr Example said"}


Score = Callable[[Iterable[RangeTask]], Iterator[RangeScores]]


class House:
    """A service without HTTP and Ray: settings, store, queue, model, runner."""

    def __init__(self, folder: Path, **stated: Any) -> None:  # noqa: ANN401  # settings of any type
        self.settings = Settings(
            data_dir=folder / "data", range_tiles=4, heartbeat_s=0.05, lease_s=5, **stated
        )
        prepare_folders(self.settings)
        self.model: ModelFolder = tiny_model(folder / "model")
        self.store = open_store(self.settings.database_address)
        self.jobs = Jobs(self.store, self.settings.lease_s, self.settings.max_attempts)
        self.scorer = RangeScorer(OnnxClassifier(self.model, threads=1))
        with self.store.writing() as session:
            file_case(session, CASE, "a test")

    def file(self, path: Path, *others: Path) -> str:
        """File a copy of the slide, which may have more files, under the case."""
        digest, slide_id = digest_slide(together(path, *others)), new_id()
        (self.settings.slides_dir / slide_id).mkdir()
        for number, each in enumerate((path, *others)):
            kept = self.settings.slides_dir / slide_id / stored_name(number, each.name)
            kept.write_bytes(each.read_bytes())
        with open_slide(path) as slide:
            images = tuple({"index": image.index} for image in slide.info.images)
        files = tuple({"name": f.name, "sha256": f.sha256, "bytes": f.bytes} for f in digest.files)
        with self.store.writing() as session:
            file_slide(
                session, NewSlide(slide_id, digest.sha256, "tiff", files, images, case_id=CASE), "a test"
            )
        return slide_id

    def request(self, *slide_ids: str, case_id: str | None = None) -> str:
        card = self.model.card
        read = NewRead(
            id=new_id(), case_id=case_id, slide_ids=slide_ids, slide_sha256s=(), model_name=card.name,
            model_version=card.version, model_onnx_sha256=card.sha256,
            model_card_sha256=self.model.card_sha256, request={"region": None, "scale": SCALE},
        )  # fmt: skip
        return self.jobs.enqueue(read, "a test").id

    def runner(self, score: Score | None = None) -> ReadRunner:
        served = ServedModel(self.model, score or (lambda tasks: map(self.scorer, tasks)))
        self.stop = threading.Event()
        return ReadRunner(
            self.settings, self.jobs, lambda *_: served, conclude_read, "a runner", stop=self.stop
        )

    def read(self, read_id: str) -> ReadRow:
        with self.store.reading() as session:
            return session.get_one(ReadRow, read_id)


def counting(house: House, scored: list[int]) -> Score:
    """Scores, and notes the numbers of the ranges."""

    def score(tasks: Iterable[RangeTask]) -> Iterator[RangeScores]:
        for task in tasks:
            scored.append(task.number)
            yield house.scorer(task)

    return score
