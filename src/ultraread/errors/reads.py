"""Reads that are refused although the slide is taken, and reads that ended badly."""

from ultraread.errors.inputs import InputRefused
from ultraread.errors.root import UltraReadError


class ReadRefused(InputRefused):
    """The slide is filed and viewable; reading it would not be safe."""

    code = "read_refused"


class ScaleMissing(ReadRefused):
    """The file states no pixel size that can be trusted."""

    code = "slide_no_pixel_size"
    remedy = (
        "State it with --nm-per-px X --reason TEXT, over HTTP as scale {nm_per_px, reason}: "
        "from the microscope's calibration. Or import calibration records: docs/guides/scale.md."
    )


class ScalesDisagree(ReadRefused):
    """Two scales are further apart than their tolerances allow."""

    code = "slide_scales_disagree"
    remedy = "Find out which is right and correct the file or the stated value."


class ScaleOutOfRange(ReadRefused):
    """The model was not made for this scale."""

    code = "slide_scale_out_of_range"
    remedy = "Choose a model made for this scale, or digitize at another magnification."


class CalibrationExpired(ReadRefused):
    """No calibration record of the instrument was valid on the day that counts."""

    code = "calibration_expired"
    remedy = "Calibrate the microscope and import the new record; docs/guides/scale.md says which day counts."


class CalibrationAmbiguous(ReadRefused):
    """Several calibration records fit, and they are not of the same pixel."""

    code = "calibration_ambiguous"
    remedy = "State --camera, over HTTP instrument {camera}, or correct the records."


class CalibrationMissing(ReadRefused):
    """A microscope, camera or magnification was stated that no calibration record is of."""

    code = "calibration_missing"
    remedy = "Import its record, or call the instrument as the records do: `ultraread calibrations ls`."


class PixelNotSquare(ReadRefused):
    """Pixels are not square, so areas and shapes would be wrong."""

    code = "slide_pixel_not_square"
    remedy = "Resample to square pixels with the instrument's software."


class ModalityMismatch(ReadRefused):
    """The model was made for another kind of image."""

    code = "slide_modality_mismatch"
    remedy = "Choose a model for this modality; the slide itself stays viewable."


class BitDepthMismatch(ReadRefused):
    """The model was not made for pixels of this bit depth."""

    code = "slide_bit_depth_mismatch"
    remedy = "Choose a model that takes it, or export the image as 8-bit or 16-bit grey."


class SlideTooSmall(ReadRefused):
    """Smaller than one tile of the model."""

    code = "slide_too_small"
    remedy = "Give a larger field; a tile of the model has to fit."


class NonFinitePixels(ReadRefused):
    """NaN or infinite pixels: no finding can come from them."""

    code = "slide_nonfinite_pixels"
    remedy = "Export the image without NaN or infinite values."


class NegativeImage(ReadRefused):
    """Lines are brighter than their surroundings: the picture looks like a negative."""

    code = "slide_contrast_inverted"
    remedy = (
        "Invert the image; or, if it is no negative, confirm it with --contrast-confirmed REASON, over HTTP "
        "as contrast_confirmed."
    )


class ReadFailed(UltraReadError):
    """The read ended without a result."""

    code = "read_failed"
    http_status = 409
    exit_status = 8
    remedy = "`ultraread verify SLIDE` names the damaged tiles."


class TooManyFailedTiles(ReadFailed):
    """More tiles could not be decoded than the model's card allows."""

    code = "read_too_many_failed_tiles"


class AttemptsExhausted(ReadFailed):
    """The read was tried again and again without progress."""

    code = "read_attempts_exhausted"
    remedy = "The slide or the machine is at fault; see the service's log."


class ReadDeadlinePassed(ReadFailed):
    """The read was not done by the time that was set for it."""

    code = "read_deadline_passed"
    remedy = "Ask again with a later finish_by, or without one."


class ReadCancelled(ReadFailed):
    """Cancelled by its owner."""

    code = "read_cancelled"
    remedy = "Submit it again if that was a mistake."


class Interrupted(UltraReadError):
    """Stopped with Ctrl-C; what was done is kept."""

    code = "interrupted"
    exit_status = 130
    remedy = "Go on with the same command and --resume."
