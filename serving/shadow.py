"""Repeat ended reads with the shadow version, when nobody waits; only the difference is kept, in MLflow."""

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ultraread.datasets.open_slide import OpenSlide, open_slide
from ultraread.datasets.slide_digest import FileDigest, SlideDigest
from ultraread.errors import UltraReadError, Unavailable
from ultraread.models.promotion import Alias
from ultraread.serving.discordance import Pair, discordance
from ultraread.serving.findings import SlideFindings, digest_of
from ultraread.serving.live_models import ServedModel
from ultraread.serving.read_slide import (
    PreparedSlide,
    ReadRequest,
    binding,
    confirm_digest,
    prepare_slide,
    score_slide,
)
from ultraread.serving.results.folder import clear, concluded_before
from ultraread.serving.runner import TakeModel, request_of
from ultraread.serving.score_tiles import RangeStore
from ultraread.serving.settings import Settings
from ultraread.serving.storage.slide_store import open_slide_store
from ultraread.serving.store import shadows, versions
from ultraread.serving.store.calibrations import calibrations_of
from ultraread.serving.store.engine import Store
from ultraread.serving.store.looks import looks_of
from ultraread.serving.store.records import find_all, pinned_specimens
from ultraread.serving.store.tables import ReadRow, ShadowReadRow, ShadowState, SlideRow

log = logging.getLogger(__name__)


class GiveWay(Exception):
    """A read waits: the shadow stops after this range, and goes on from its checkpoints later."""


@dataclass(frozen=True, slots=True)
class ShadowRunner:
    """Repeats one read at a time, in one thread of one process."""

    settings: Settings
    store: Store
    take_model: TakeModel
    open_one: OpenSlide = open_slide

    def run_next(self) -> bool:
        """Repeat the oldest read that the lot fell on; False where there is none, or where reads go first.

        Raises Unavailable, and then the read waits.
        """
        if not shadows.is_idle(self.store) or (row := shadows.take(self.store)) is None:
            return False
        try:
            self._run(row)
        except GiveWay:
            shadows.put_back(self.store, row, counts=False)
            return False
        except Unavailable:
            shadows.put_back(self.store, row, counts=False)
            raise
        except UltraReadError as error:
            self._end(row, ShadowState.FAILED, error.code)
        except Exception:
            log.exception("the shadow of read %s failed", row.read_id)
            self._try_again(row)
        return True

    def _run(self, row: ShadowReadRow) -> None:
        with self.store.reading() as session:
            still = versions.version_at(session, row.model_name, Alias.SHADOW) == row.model_version
            read = session.get_one(ReadRow, row.read_id)
        if not still:
            self._end(row, ShadowState.DROPPED)
            return
        served = self.take_model(row.model_name, row.model_version)
        told = discordance(self._pairs(read, served))
        self._end(row, ShadowState.DONE, figures=told, onnx_sha256=served.model.onnx_sha256)

    def _pairs(self, read: ReadRow, served: ServedModel) -> list[Pair]:
        with self.store.of_site(read.site).reading() as session:
            slides = find_all(session, SlideRow, read.slide_ids)
            specimens = pinned_specimens(session, read)
            calibrations = calibrations_of(session, read.request, read.site)
        request = request_of(read, specimens, calibrations, self.settings.range_tiles)
        shown = {slide.id: self._shown(read, slide) for slide in slides}
        return [
            (findings, self._repeated(slide, read, served, request))
            for slide in slides
            if (findings := shown[slide.id]) is not None
        ]

    def _shown(self, read: ReadRow, slide: SlideRow) -> SlideFindings | None:
        """What was published of a slide; None where it gave no result."""
        file = self.settings.result_dir(read.id, read.epoch) / slide.id / "findings.json"
        if not file.is_file():
            return None
        body = json.loads(file.read_bytes())
        return SlideFindings.model_validate({name: body[name] for name in body if name != "digest"})

    def _repeated(
        self, slide: SlideRow, read: ReadRow, served: ServedModel, request: ReadRequest
    ) -> SlideFindings:
        prepared = self._prepared(slide, served, request)
        ranges = RangeStore(self._work(read.id) / _folder_of(prepared) / slide.id)
        score_slide(prepared, ranges, served.score_ranges, lambda _tiles: self._give_way())
        confirm_digest(prepared)
        return concluded_before(prepared, ranges).findings

    def _prepared(self, slide: SlideRow, served: ServedModel, request: ReadRequest) -> PreparedSlide:
        digest = SlideDigest(slide.sha256, tuple(FileDigest(**file) for file in slide.files))
        with self.store.of_site(slide.site).reading() as session:
            address = open_slide_store(self.settings).address(session, slide)
        looks = looks_of(slide)
        return prepare_slide(address, served.model, request, digest, looks=looks, open_one=self.open_one)

    def _give_way(self) -> None:
        if not shadows.is_idle(self.store):
            raise GiveWay

    def _try_again(self, row: ShadowReadRow) -> None:
        if row.attempts >= shadows.MAX_ATTEMPTS:
            self._end(row, ShadowState.FAILED, UltraReadError.code)
        else:
            shadows.put_back(self.store, row, counts=True)

    def _end(
        self,
        row: ShadowReadRow,
        state: ShadowState,
        error_code: str | None = None,
        figures: dict[str, float] | None = None,
        onnx_sha256: str | None = None,
    ) -> None:
        """The row, what MLflow is told, and nothing of the work."""
        told = None if state is ShadowState.DROPPED else _told(row, error_code, figures or {}, onnx_sha256)
        shadows.end(self.store, row, state, error_code, told)
        clear(self._work(row.read_id))

    def _work(self, read_id: str) -> Path:
        return self.settings.shadows_dir / read_id


def _folder_of(prepared: PreparedSlide) -> str:
    """The name of the folder of checkpoints that may go together."""
    return digest_of(binding(prepared))[:16]


def _told(
    row: ShadowReadRow, error_code: str | None, figures: dict[str, float], onnx_sha256: str | None
) -> dict[str, Any]:
    """Digests, versions and figures: no names, no findings. The digest is of the weights that ran."""
    shadow = {"shadow_version": row.model_version}
    if onnx_sha256 is not None:
        shadow["shadow_onnx_sha256"] = onnx_sha256
    return {"params": shadow, "tags": shadow, "metrics": figures, "error_code": error_code}
