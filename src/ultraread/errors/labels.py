"""Labelled data that is refused."""

from ultraread.errors.inputs import InputRefused


class LabelsRefused(InputRefused):
    """The labelled data cannot be trained on or judged by."""

    code = "labels_refused"
    remedy = "`ultraread datasets check MANIFEST` tells what is wrong."


class ManifestInvalid(LabelsRefused):
    """The dataset manifest does not follow its schema."""

    code = "manifest_invalid"
    remedy = "Correct the named row; datasets/manifest.schema.json describes the columns."


class LabelCodeUnknown(LabelsRefused):
    """A label image holds a code that its code table does not name."""

    code = "label_code_unknown"
    remedy = "Name the code in the manifest's `codes`; without a class (`7=`) it is background."


class MaskSizeMismatch(LabelsRefused):
    """A mask has another size than its image."""

    code = "mask_size_mismatch"
    remedy = "Export the mask at the image's full size."


class SplitLeak(LabelsRefused):
    """One specimen, block or picture stands in two splits."""

    code = "split_leak"
    remedy = "Split by specimen, or by block with a gap: `ultraread datasets split MANIFEST`."


class ClassEmpty(LabelsRefused):
    """A class that no labelled pixel shows cannot be learned or judged."""

    code = "class_empty"
    remedy = "Label the class, or leave it out of the recipe."


class ContrastInverted(LabelsRefused):
    """An electron-dense class is brighter than what is around it: the picture is a negative."""

    code = "contrast_inverted"
    remedy = "Invert the image, or say electron_dense = false for the class in the recipe."
