"""The result folder of a slide: filled under another name, fsynced, renamed. If it exists, it is whole."""

import json
import os
import platform
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ultraread.datasets.digest import sha256_of_file
from ultraread.datasets.geometry import BoxPx, whole
from ultraread.datasets.quality.assess import ImageQuality
from ultraread.datasets.slide import Modality
from ultraread.errors import InputChanged, IntegrityFailed, OutputExists, StorageFull
from ultraread.models.card import ModelCard
from ultraread.models.registry import ModelFolder
from ultraread.serving.aggregate import (
    coverage_of,
    field_entry,
    findings_of,
    quality_note,
    rounded,
    scope_of,
)
from ultraread.serving.estimates import seed_of
from ultraread.serving.findings import (
    FieldEntry,
    FileEntry,
    ImageEntry,
    ModelEntry,
    RegionEntry,
    SlideEntry,
    SlideFindings,
    canonical_bytes,
    digest_of,
)
from ultraread.serving.limitations import limitations_of
from ultraread.serving.quality import slide_quality
from ultraread.serving.read_slide import PreparedImage, PreparedSlide, tally_image
from ultraread.serving.results.artefacts import write_artefacts
from ultraread.serving.results.overlay import Overlay, Squares
from ultraread.serving.results.patch_map import PatchMapFile
from ultraread.serving.results.pictures import SlidePictures
from ultraread.serving.results.scan_record import scan_record_of
from ultraread.serving.results.tables import TileTables
from ultraread.serving.score_tiles import RangeSink, RangeStore
from ultraread.serving.storage.durable import fsync
from ultraread.serving.tally import TalliedImage

FIELD_SELECTION = "not stated: the fields were chosen before they reached UltraRead"
PACKAGES = ("ultraread", "numpy", "onnxruntime", "tifffile", "imagecodecs", "pillow")


@dataclass(frozen=True, slots=True)
class ConcludedSlide:
    """What a slide gave: the findings to publish, and the tallies and fields that a case is made of."""

    prepared: PreparedSlide
    findings: SlideFindings
    images: tuple[TalliedImage, ...]
    fields: tuple[FieldEntry, ...]


def conclude_slide(
    prepared: PreparedSlide, store: RangeStore, folder: Path, told: dict[str, Any]
) -> ConcludedSlide:
    """Write every file of the result into `folder`; `told` goes to provenance.json as it is."""
    folder.mkdir(parents=True)
    processes: Counter[int] = Counter()
    with closing(Overlay(folder / "overlay.geojson")) as overlay:
        concluded = _concluded(prepared, _write_tiles(prepared, store, folder, overlay, processes))
        overlay.add_evidence(concluded.findings.findings)
    findings = concluded.findings
    (folder / "findings.json").write_bytes(canonical_bytes(findings))
    _write_json(folder / "scan_record.json", scan_record_of(prepared))
    provenance = _provenance(prepared, processes, folder, told)
    _write_json(folder / "provenance.json", {**provenance, "digest": digest_of(provenance)})
    return concluded


def concluded_before(prepared: PreparedSlide, store: RangeStore) -> ConcludedSlide:
    """What `conclude_slide` returned when it wrote this slide's folder, from the same checkpoints."""
    found = slide_quality(prepared, store)
    images = [
        tally_image(prepared, image, store, quality=found.get(image.plan.image)) for image in prepared.images
    ]
    return _concluded(prepared, images)


def finished_before(prepared: PreparedSlide, folder: Path) -> ConcludedSlide:
    """What a published folder holds, scoring nothing. Raises InputChanged where it is another read's."""
    try:
        body = json.loads((folder / "findings.json").read_bytes())
        if body["digest"] != digest_of(body):
            raise ValueError("not what its digest says")
        findings = SlideFindings.model_validate({name: body[name] for name in body if name != "digest"})
        told = json.loads((folder / "provenance.json").read_text())
        settings, policy = told["settings"], told["identity"]["policy"]
    except (OSError, ValueError, KeyError, TypeError) as damaged:
        raise IntegrityFailed(f"{folder} is damaged", "Move it away and read again.") from damaged
    same_read = (findings.slide, findings.model) == (_slide_entry(prepared), model_entry(prepared.model))
    same_settings = settings == _settings(prepared)
    if not same_read or not same_settings or policy != prepared.identity.policy:
        raise InputChanged(f"{folder} is of another slide, model or settings", "Choose another --out.")
    return ConcludedSlide(prepared, findings, (), ())


def slide_findings(prepared: PreparedSlide, images: list[TalliedImage]) -> SlideFindings:
    """The findings of a slide: a function of its bytes, the model version, the plan and the settings."""
    model, request = prepared.model, prepared.request
    seed = seed_of(prepared.digest.sha256, model.card.sha256)
    coverage = coverage_of(images, model.card)
    scope = scope_of(request.specimen, model.card, len(images))
    return SlideFindings(
        state="partial" if coverage.tiles_failed else "succeeded",
        slide=_slide_entry(prepared),
        model=model_entry(model),
        specimen=request.specimen,
        coverage=coverage,
        quality=tuple(quality_note(note) for image in images for note in image.notes),
        findings=findings_of(images, model.card, scope, coverage, seed, in_case=False),
        limitations=limitations_of(model, scope, coverage, [prepared], images),
    )


def model_entry(model: ModelFolder) -> ModelEntry:
    return ModelEntry(
        name=model.card.name,
        version=model.card.version,
        onnx_sha256=model.onnx_sha256,
        card_sha256=model.card_sha256,
    )


def publish(unfinished: Path, final: Path) -> None:
    """Make every file of `unfinished` durable, then give the folder its name.

    Raises OutputExists where there is a result already, StorageFull where there is no room.
    """
    if final.exists():
        raise OutputExists(f"{final} exists")
    try:
        for path in (*unfinished.rglob("*"), unfinished):
            fsync(path)
        unfinished.rename(final)
        fsync(final.parent)
    except OSError as failure:
        raise StorageFull(f"the result could not be written ({failure.strerror})") from failure


def clear(folder: Path) -> None:
    """Remove a folder of unfinished work, if there is one."""
    shutil.rmtree(folder, ignore_errors=True)


def _concluded(prepared: PreparedSlide, images: list[TalliedImage]) -> ConcludedSlide:
    card, seed = prepared.model.card, seed_of(prepared.digest.sha256, prepared.model.card.sha256)
    scope = scope_of(prepared.request.specimen, card, len(images))
    return ConcludedSlide(
        prepared,
        slide_findings(prepared, images),
        tuple(image.condensed() for image in images),
        tuple(field_entry(image, card, scope, seed) for image in images),
    )


def _write_tiles(
    prepared: PreparedSlide, store: RangeStore, folder: Path, overlay: Overlay, processes: Counter[int]
) -> list[TalliedImage]:
    """One pass over the ranges feeds tables, patch map, pictures, overlay, tally and the count by process."""
    tallied, card, found = [], prepared.model.card, slide_quality(prepared, store)
    with closing(TileTables(folder, card)) as tables:
        for image in prepared.images:
            masks = prepared.identity.masks(image.plan.image)
            with closing(_ImageFiles(image, card, folder, overlay, masks)) as files:
                sinks = (tables.add, *files.sinks, lambda scores, _: processes.update([scores.scored_by]))
                quality = found.get(image.plan.image)
                tallied.append(tally_image(prepared, image, store, sinks, quality))
                files.add_artefacts(quality)
    return tallied


class _ImageFiles:
    """Patch map, pictures and overlay squares of one image; those of image 0 carry no number."""

    def __init__(
        self,
        image: PreparedImage,
        card: ModelCard,
        folder: Path,
        overlay: Overlay,
        masks: tuple[BoxPx, ...],
    ) -> None:
        nm_per_px = image.admitted.scale.nm_per_px
        self._numbered = f"_{image.plan.image}" if image.plan.image else ""
        self._folder, self._overlay, self._image = folder, overlay, image
        self._pictures = SlidePictures(image.plan, card, nm_per_px, masks)
        self._squares = Squares(image.plan, card)
        self._patch_map: PatchMapFile | None = None
        if card.outputs.patch_map:
            path = folder / f"patch_map{self._numbered}.ome.tif"
            self._patch_map = PatchMapFile(path, image.plan, card, card.outputs.patch_map, nm_per_px)

    @property
    def sinks(self) -> tuple[RangeSink, ...]:
        patch_map = (self._patch_map.add,) if self._patch_map else ()
        return self._pictures.add, self._squares.add, *patch_map

    def add_artefacts(self, quality: ImageQuality | None) -> None:
        """A mask file where something was found."""
        if quality is not None and quality.masks:
            path = self._folder / f"artefacts{self._numbered}.ome.tif"
            write_artefacts(path, quality, self._image)

    def close(self) -> None:
        self._overlay.add_tiles(self._squares)
        thumbnail, heatmap = (
            self._folder / f"{name}{self._numbered}.png" for name in ("thumbnail", "heatmap")
        )
        self._pictures.save(thumbnail, heatmap)
        if self._patch_map:
            self._patch_map.close()


def _slide_entry(prepared: PreparedSlide) -> SlideEntry:
    return SlideEntry(
        sha256=prepared.digest.sha256,
        files=tuple(FileEntry(sha256=file.sha256, bytes=file.bytes) for file in prepared.digest.files),
        images=tuple(sorted(_image_entries(prepared), key=lambda entry: entry.index)),
        field_selection=FIELD_SELECTION,
    )


def _image_entries(prepared: PreparedSlide) -> Iterator[ImageEntry]:
    for image in prepared.images:
        yield _image_entry(image)
    for unread in prepared.out_of_scope:
        scale = unread.scale
        yield ImageEntry(
            index=unread.info.index,
            width_px=unread.info.size.width,
            height_px=unread.info.size.height,
            bit_depth=unread.info.bit_depth,
            modality=Modality.SEMITHIN_LIGHT,
            nm_per_px=rounded(scale.nm_per_px) if scale else None,
            nm_per_px_tolerance=scale.tolerance if scale else None,
            nm_per_px_origin=scale.origin if scale else None,
            nm_per_px_reason=scale.reason if scale else "",
            region=None,
            out_of_scope=True,
        )


def _image_entry(image: PreparedImage) -> ImageEntry:
    info, scale, region = image.admitted.info, image.admitted.scale, image.admitted.region
    return ImageEntry(
        index=info.index,
        width_px=info.size.width,
        height_px=info.size.height,
        bit_depth=info.bit_depth,
        modality=image.admitted.modality,
        nm_per_px=rounded(scale.nm_per_px),
        nm_per_px_tolerance=scale.tolerance,
        nm_per_px_origin=scale.origin,
        nm_per_px_reason=scale.reason,
        region=None if region == whole(info.size) else RegionEntry(**asdict(region)),
    )


def _provenance(
    prepared: PreparedSlide, processes: Counter[int], folder: Path, told: dict[str, Any]
) -> dict[str, Any]:
    files = sorted(file for file in folder.iterdir() if file.is_file())
    return {
        "schema_version": "1",
        "research_use_only": True,
        "file_names": _file_names(prepared),
        "identity": prepared.identity.as_json(),
        "settings": _settings(prepared),
        "windows": [asdict(image.window) for image in prepared.images],
        "ranges_by_process": {str(pid): n for pid, n in sorted(processes.items())},
        "versions": {name: version(name) for name in PACKAGES} | {"python": platform.python_version()},
        "machine": {"processor": platform.machine(), "cpus": os.cpu_count(), "system": platform.platform()},
        "files": {file.name: sha256_of_file(file) for file in files},
        **told,
    }


def _settings(prepared: PreparedSlide) -> Any:  # noqa: ANN401  # whatever JSON it makes
    """The request as JSON holds it; dates are ISO 8601 text."""
    return json.loads(json.dumps(asdict(prepared.request), default=str))


def _file_names(prepared: PreparedSlide) -> list[str]:
    """Only where identity is kept for a stated reason."""
    return [file.name for file in prepared.digest.files] if prepared.identity.keeps_names else []


def _write_json(path: Path, body: dict[str, Any]) -> None:
    path.write_text(json.dumps(body, indent=2) + "\n")
