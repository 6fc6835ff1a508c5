"""Write the manifests of the pinned corpora: python -m ultraread.datasets.manifests.make_manifests."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from ultraread.datasets.corpora import files_under, pinned_files
from ultraread.datasets.manifest import CORPUS, AnnotationRow, Kind, Split, as_csv

HERE = Path(__file__).parent
VNC_MASKS = {"mitochondria": "UR-MITO", "synapses": "UR-SYN", "membranes": "UR-MEM"}
HELA_LABELS = {1: "GT2_z0001", 30: "GT2_z0002", 60: "GT2_z0004"}
"""By section. The number in the name is not the section's: with the first annotator's labels of sections 1,
30 and 60 these overlap by a Dice of 0.97, 0.89 and 0.86, with those of other sections by at most 0.15.
GT2_z0026 and GT2_z0028 fit none of the seven images, so the other four count as unlabelled. Only the cell in
the middle is labelled; the mitochondria of the cells around it are not."""
NERVE_SPLITS: dict[str, Split] = {"483S1": "train", "483S2": "test"}
VNC_NM_PER_PX = 4.6
NERVE_NM_PER_PX = 5.962
UNSTATED = "unstated-scale"
OUT_OF_DOMAIN = {  # folder: specimen, laboratory, nm/px; 4.6 stands in where no scale is stated
    "kidney_tem_najafian": ("kidney-najafian", UNSTATED, VNC_NM_PER_PX),
    "kidney_tem_glomerulus": ("kidney-glomerulus", "kidney-tem-glomerulus", 3.26),
    "neutrophil_tem": ("neutrophil", "neutrophil-tem", 2.62),
    "cilia_tem": ("cilia", UNSTATED, VNC_NM_PER_PX),
}


def main() -> None:
    """Write each manifest beside this file."""
    for name, text in manifests().items():
        (HERE / name).write_text(text)


def manifests() -> dict[str, str]:
    """The text of each manifest by its file name."""
    return {
        "drosophila_vnc.csv": as_csv(_drosophila_vnc()),
        "hela_sbfsem.csv": as_csv(_hela_sbfsem()),
        "isbi2012.csv": as_csv(_isbi2012()),
        "nerve_myelin.csv": as_csv(_nerve_myelin()),
        "out_of_domain.csv": as_csv(_out_of_domain()),
    }


def _drosophila_vnc() -> Iterator[AnnotationRow]:
    for image in files_under("drosophila_vnc/stack1/raw"):
        section = PurePosixPath(image).stem
        for folder, code in VNC_MASKS.items():
            yield _row(
                image, f"drosophila_vnc/stack1/{folder}/{section}.png", kind=Kind.MASK, code=code,
                specimen="drosophila-vnc-stack1", block="stack1", section=int(section),
                laboratory="figshare-856713", nm_per_px=VNC_NM_PER_PX, split="train",
            )  # fmt: skip


def _hela_sbfsem() -> Iterator[AnnotationRow]:
    """The second annotator's labels, which are numbered otherwise than the images."""
    for section, label in HELA_LABELS.items():
        yield _row(
            f"hela_sbfsem/raw/z{section:04d}.tif", f"hela_sbfsem/labels/{label}.mat", kind=Kind.INSTANCES,
            code="UR-MITO", specimen="hela-1", block="empiar-10094", section=section,
            laboratory="empiar-10094", nm_per_px=10, split="test",
        )  # fmt: skip


def _isbi2012() -> Iterator[AnnotationRow]:
    for image in files_under("isbi2012/raw"):
        section = PurePosixPath(image).stem
        yield _row(
            image, f"isbi2012/membranes/{section}.png", kind=Kind.INVERSE_MASK, code="UR-MEM",
            specimen="drosophila-larva-isbi2012", block="isbi2012", section=int(section),
            laboratory="isbi2012", nm_per_px=4, split="test",
        )  # fmt: skip


def _nerve_myelin() -> Iterator[AnnotationRow]:
    """Fields of one section each block; their number is the instrument's, not an order in depth."""
    for image in files_under("nerve_myelin/raw"):
        name = PurePosixPath(image).stem
        block = name.split("-")[1]
        yield _row(
            image, f"nerve_myelin/masks/{name}.png", kind=Kind.LABELS, codes="1= 2=UR-MYELIN 3=UR-AXON",
            specimen="nerve-animal-483", block=block, section=int(name.split("-")[-1]),
            laboratory="nerve-myelin", nm_per_px=NERVE_NM_PER_PX, split=NERVE_SPLITS[block],
        )  # fmt: skip


def _out_of_domain() -> Iterator[AnnotationRow]:
    for folder, (specimen, laboratory, nm_per_px) in OUT_OF_DOMAIN.items():
        for image in files_under(folder):
            if PurePosixPath(image).suffix in (".png", ".jpg"):
                yield _row(
                    image, specimen=specimen, block=specimen, laboratory=laboratory, nm_per_px=nm_per_px,
                    split="test",
                )  # fmt: skip


def _row(
    image: str,
    annotation: str = "",
    *,
    specimen: str,
    block: str,
    laboratory: str,
    nm_per_px: float,
    split: Split,
    section: int = 0,
    kind: Kind = Kind.NONE,
    code: str = "",
    codes: str = "",
) -> AnnotationRow:
    return AnnotationRow(
        image=CORPUS + image,
        image_sha256=pinned_files()[image].sha256,
        annotation=annotation and CORPUS + annotation,
        annotation_sha256=annotation and pinned_files()[annotation].sha256,
        kind=kind,
        code=code,
        codes=codes,
        specimen=specimen,
        block=block,
        section=section,
        laboratory=laboratory,
        nm_per_px=nm_per_px,
        split=split,
        licence=pinned_files()[image].licence,
    )


if __name__ == "__main__":
    main()
