"""Every error that a user can meet, in one tree: what happened, and what the user can do.

`code` is stable and never renamed; `http_status` is what the service answers, `exit_status` what the
command line returns. Codes are part of the public contract.
"""

from collections.abc import Iterator
from typing import ClassVar


class UltraReadError(Exception):
    """Base of every error that a user can meet. `remedy` says what the user can do."""

    code = "internal"
    http_status = 500
    exit_status = 1
    remedy = "Please report this with the command that you ran."

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.remedy = remedy or self.remedy

    def problem(self) -> dict[str, str | int]:
        """The body of RFC 9457 that says the same."""
        return {
            "type": f"urn:ultraread:problem:{self.code}",
            "title": (type(self).__doc__ or "").strip().split("\n")[0],
            "status": self.http_status,
            "detail": self.what,
            "code": self.code,
            "remedy": self.remedy,
        }

    def __reduce__(self) -> tuple[type["UltraReadError"], tuple[str, str]]:
        """Travel between processes whole."""
        return type(self), (self.what, self.remedy)


# --- the request itself -------------------------------------------------------------------------------


class RequestInvalid(UltraReadError):
    """The command or request is not one that UltraRead knows."""

    code = "request_invalid"
    http_status = 422
    exit_status = 2
    remedy = "Correct the request; --help and /v1/openapi.json show what is taken."


class LinkInvalid(RequestInvalid):
    """A link that does not lead from a region of the slide to a grid or field of its case."""

    code = "link_invalid"
    remedy = "Name a region inside the image, and a grid or image of the same case that does not lead back."


class PreconditionRequired(UltraReadError):
    """A change that does not say which revision it changes."""

    code = "precondition_required"
    http_status = 428
    exit_status = 2
    remedy = "Get it again and send its ETag as If-Match."


class PreconditionFailed(UltraReadError):
    """Somebody changed it since."""

    code = "precondition_failed"
    http_status = 412
    exit_status = 2
    remedy = "Get it again, look at what changed, and send the change with the new ETag."


class AnsweredAlready(UltraReadError):
    """A consultation is answered once."""

    code = "answered_already"
    http_status = 409
    exit_status = 2
    remedy = "Add a new consultation."


class OriginRefused(UltraReadError):
    """A web page of another site sent the request."""

    code = "origin_refused"
    http_status = 403
    exit_status = 2
    remedy = "Ask from the service's own address, or name its reverse proxy in setting proxied_hosts."


class AuthRequired(UltraReadError):
    """Nobody said who asks."""

    code = "auth_required"
    http_status = 401
    exit_status = 2
    remedy = "Give a token (ULTRAREAD_TOKEN or --token-file), or log in at /login."
    headers: ClassVar[dict[str, str]] = {"WWW-Authenticate": 'Bearer realm="ultraread"'}


class AuthInvalid(AuthRequired):
    """The token, login or session counts for nothing."""

    code = "auth_invalid"
    remedy = "Ask an administrator of your site for a new token, or log in again."
    headers: ClassVar[dict[str, str]] = {
        "WWW-Authenticate": 'Bearer realm="ultraread", error="invalid_token"'
    }


class AuthForbidden(UltraReadError):
    """Roles or scopes of who asks do not reach this far."""

    code = "auth_forbidden"
    http_status = 403
    exit_status = 2
    remedy = "Ask an administrator of your site for the role; docs/guides/access.md has the table."


class AuthCsrf(UltraReadError):
    """A change under a browser's session did not say the session's token."""

    code = "auth_csrf"
    http_status = 403
    exit_status = 2
    remedy = "Send `csrf_token` of GET /v1/session as X-CSRF-Token."


class SessionLocked(UltraReadError):
    """Nothing was asked for so long that the session is locked."""

    code = "session_locked"
    http_status = 423
    exit_status = 2
    remedy = "Unlock it: log in again, or send a token of the same person to /v1/session/unlock."


class LoginNotOffered(UltraReadError):
    """The service knows no provider of logins."""

    code = "login_not_offered"
    http_status = 404
    exit_status = 2
    remedy = "Set oidc_issuer, or exchange a token for a session at POST /v1/session."


class NotFound(UltraReadError):
    """No such case, slide, record, read or upload."""

    code = "not_found"
    http_status = 404
    exit_status = 2
    remedy = "Check the id."


class StorageExpired(NotFound):
    """Its files were removed when their time was over; record and digests stay."""

    code = "storage_expired"
    http_status = 410
    remedy = "The audit trail and `ultraread storage ls` tell when and why; a backup may still hold it."


class RateLimited(UltraReadError):
    """Too many requests in too short a time."""

    code = "rate_limited"
    http_status = 429
    exit_status = 6
    remedy = "Ask again after the seconds of Retry-After; docs/guides/limits.md has the rates."

    def __init__(self, what: str, remedy: str = "", retry_after_s: int = 1) -> None:
        super().__init__(what, remedy)
        self.headers = {"Retry-After": str(retry_after_s)}


class StreamLimit(RateLimited):
    """Who asks has too many event streams open."""

    code = "stream_limit"
    remedy = "Close some of them, or ask for GET /v1/reads/{id} now and then."


class UploadTimeout(UltraReadError):
    """The body of the request came too slowly, or not at all."""

    code = "upload_timeout"
    http_status = 408
    exit_status = 6
    remedy = "Send it again, in smaller parts where the line is slow."


class UploadConflict(UltraReadError):
    """Other bytes are there already, or the upload was announced with another size or digest."""

    code = "upload_offset_conflict"
    http_status = 409
    exit_status = 6
    remedy = "Ask GET /v1/uploads/{id} what is there and what is missing, or open a new upload."


class UploadExpired(NotFound):
    """No part came for too long; what was there is thrown away."""

    code = "upload_expired"
    http_status = 410
    remedy = "Open a new upload."


class QuotaExceeded(UltraReadError):
    """The site has too much on its way in."""

    code = "quota_exceeded"
    http_status = 429
    exit_status = 6
    remedy = "File or delete what is uploaded, or wait until it expires; your operator sets the quota."
    headers: ClassVar = {"Retry-After": "60"}


class UploadChecksumMismatch(UltraReadError):
    """The bytes received are not those that were sent."""

    code = "upload_checksum_mismatch"
    http_status = 422
    exit_status = 7
    remedy = "Send the part again."


class UploadTooLarge(UltraReadError):
    """More bytes than were announced, or than the service takes."""

    code = "upload_too_large"
    http_status = 413
    exit_status = 3
    remedy = "Announce the file's true size."


class WebhookNotTold(UltraReadError):
    """The receiver of a webhook did not take a message."""

    code = "webhook_not_told"
    http_status = 502
    exit_status = 6
    remedy = (
        "Look at the receiver; it has to answer with a 2xx status within ten seconds, and not to redirect."
    )


class MethodNotAllowed(UltraReadError):
    """The address exists, but does not take this method."""

    code = "method_not_allowed"
    http_status = 405
    exit_status = 2
    remedy = "/v1/openapi.json shows what each address takes."


class CaseExists(UltraReadError):
    """A case of that id is there already."""

    code = "case_exists"
    http_status = 409
    exit_status = 2
    remedy = "Use it, or choose another id."


class IdempotencyConflict(UltraReadError):
    """An Idempotency-Key that belongs to another request."""

    code = "idempotency_conflict"
    http_status = 422
    exit_status = 2
    remedy = "Use a new Idempotency-Key for a new request."


class IdempotencyRunning(UltraReadError):
    """The first request with this Idempotency-Key has no answer yet."""

    code = "idempotency_running"
    http_status = 409
    exit_status = 6
    remedy = "Send it again in a moment."


class TokenShownBefore(UltraReadError):
    """The token of this Idempotency-Key was made, and shown by the first answer alone."""

    code = "token_shown_before"
    http_status = 409
    exit_status = 2
    remedy = "Where that answer was lost, revoke the token and ask under a new Idempotency-Key."


class ReadNotFinished(UltraReadError):
    """The read has no result yet, or will have none."""

    code = "read_not_finished"
    http_status = 409
    exit_status = 6
    remedy = "Wait until GET /v1/reads/{id} says succeeded or partial."


class ViewRequestInvalid(RequestInvalid):
    """No picture can be meant by this address or these parameters."""

    code = "view_request_invalid"
    http_status = 400
    remedy = "Correct the address; docs/guides/viewing.md shows what is taken."


class ViewTooLarge(RequestInvalid):
    """The picture is too large, or needs too many pixels of the file."""

    code = "view_too_large"
    http_status = 400
    remedy = "Ask for a smaller region; `ultraread convert` writes the smaller levels that a slide lacks."


class ViewNotOffered(RequestInvalid):
    """IIIF leaves this to the server, and it is not offered here."""

    code = "view_not_offered"
    http_status = 501
    remedy = "Ask for what level 2 of the IIIF Image API 3.0 demands."


# --- inputs that are refused: nothing was read, nothing was written ------------------------------------


class InputRefused(UltraReadError):
    """The file or request cannot be taken safely; nothing was written."""

    code = "input_refused"
    http_status = 422
    exit_status = 3


class SlideNotFound(InputRefused):
    """No such file."""

    code = "slide_not_found"
    remedy = "Check the path."


class UrlNotAllowed(InputRefused):
    """An address of a kind that is not opened."""

    code = "url_not_allowed"
    remedy = "Name a local path or an s3:// address."


class SlideNotRegular(InputRefused):
    """A link, a pipe or a device where a file was expected, or a file of several names."""

    code = "slide_not_regular"
    remedy = "Put the file itself there, as a copy of its own."


class SlideChanged(InputRefused):
    """The slide changed while it was copied in."""

    code = "slide_changed"
    http_status = 409
    remedy = "Wait until it is written, then send it again."


class SlideEmpty(InputRefused):
    """A file of no bytes."""

    code = "slide_empty"
    remedy = "Copy the file again from the instrument."


class SlideTypeMismatch(InputRefused):
    """The bytes are of no image format that UltraRead opens, whatever the name says."""

    code = "slide_type_mismatch"
    remedy = "Export the image as TIFF, OME-TIFF, PNG or JPEG."


class SlideTruncated(InputRefused):
    """The file ends before its header does."""

    code = "slide_truncated"
    remedy = "Copy the file again; it is not whole."


class SlideTooLarge(InputRefused):
    """The header declares more than the file can hold, or than one stored tile may have."""

    code = "slide_too_large"
    remedy = "Check the file; store large images as tiled TIFF with tiles of at most 64 megapixels."


class SlideBomb(SlideTooLarge):
    """What is stored takes or unpacks to far more bytes than the file declares."""

    code = "slide_bomb"
    remedy = "Write the file again with the program that made it; such a file is made to fill memory."


class SlideMetadataInvalid(InputRefused):
    """XML that declares types or entities: it could expand without end, or read other files."""

    code = "slide_metadata_invalid"
    remedy = "Write the metadata without a document type declaration."


class ArchiveNotTaken(InputRefused):
    """A zip, tar or other archive: none is unpacked here."""

    code = "archive_not_taken"
    remedy = "Unpack it and send the image files; several of one slide go into one request."


class SlideOffsetInvalid(InputRefused):
    """The header points outside the file, or lists too few stored tiles."""

    code = "slide_offset_invalid"
    remedy = "Write the file again with the program that made it."


class SlideCodecUnsupported(InputRefused):
    """A compression that is not decoded here."""

    code = "slide_codec_unsupported"
    remedy = "Save it uncompressed or with LZW, deflate, zstd, JPEG or JPEG 2000."


class SlidePixelFormat(InputRefused):
    """A kind of pixel that has no declared meaning here."""

    code = "slide_pixel_format"
    remedy = "Save as 8-bit or 16-bit grey, 32-bit float grey or 8-bit RGB."


class SlidePyramidInvalid(InputRefused):
    """The levels of a pyramid are not the same picture at falling sizes."""

    code = "slide_pyramid_invalid"
    remedy = "Write the pyramid again."


class DicomInvalid(InputRefused):
    """The DICOM object contradicts itself, or lacks what a slide needs."""

    code = "dicom_invalid"
    remedy = "Export it again from the archive or scanner, all instances of one slide together."


class FormatCannotHold(InputRefused):
    """The format that was asked for cannot hold these pixels without loss."""

    code = "format_cannot_hold"
    remedy = "Convert to OME-TIFF, which holds every kind of pixel."


class SlideNotAnImage(InputRefused):
    """A spectrum, a line scan or a diffraction pattern: measured, but no picture of the specimen."""

    code = "slide_not_an_image"
    remedy = "File the micrograph that was taken beside it."


class SlideExternalRef(InputRefused):
    """The pixels lie in another file, which is not part of the slide."""

    code = "slide_external_ref"
    remedy = "Export the image into one file of its own."


class SlideDamaged(InputRefused):
    """The file contradicts itself, or its structure cannot be followed."""

    code = "slide_damaged"
    remedy = "Copy the file again from the instrument."


class DecodeFailed(InputRefused):
    """Decoding ended the process that it ran in; nothing else was harmed."""

    code = "slide_decode_failed"
    remedy = "Export the image again from the instrument; if it is whole, raise the limit that is named."


class DecodeTimeout(DecodeFailed):
    """Decoding did not end in time."""

    code = "slide_decode_timeout"
    remedy = "Export the image again from its instrument; if it is whole, raise decode_tile_s, decode_open_s."


class DecodeCrash(DecodeFailed):
    """The decoder crashed, or needed more memory than a slide may take."""

    code = "slide_decode_crash"
    remedy = "Export the image again from its instrument; if it is whole, raise decode_memory_mib."


class SlideIfdLoop(InputRefused):
    """A TIFF whose directories point back to one of themselves."""

    code = "slide_ifd_loop"
    remedy = "Write the file again with the program that made it."


class SlideTooManyIfds(InputRefused):
    """A TIFF of more than 10,000 directories."""

    code = "slide_too_many_ifds"
    remedy = "Save the series as several files, at most 10,000 images each."


class OutputExists(InputRefused):
    """A result is never written over."""

    code = "output_exists"
    remedy = "Choose another --out, or move the old result away."


class ReplayImpossible(InputRefused):
    """Something that a read depends on is gone, or is no longer what it was."""

    code = "replay_impossible"
    remedy = "Restore what is named from a backup."


class SlideDuplicate(InputRefused):
    """The same slide twice in one case would count twice."""

    code = "slide_duplicate"
    remedy = "Name each field once."


class CalibrationInvalid(InputRefused):
    """The calibration records cannot be used as they are."""

    code = "calibration_invalid"
    remedy = "Correct the named row; docs/guides/scale.md describes the columns."


class IdentityPresent(InputRefused):
    """The slide identifies somebody, and the policy is to refuse such slides."""

    code = "identity_present"
    remedy = "Send a copy made by `ultraread deidentify`, or choose another policy: docs/guides/identity.md."


class RegionInvalid(InputRefused):
    """The region does not lie inside the image."""

    code = "region_invalid"
    remedy = "Give a region in level-0 pixels inside the image; `ultraread info` shows its size."


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


# --- labelled data that is refused ----------------------------------------------------------------------


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


# --- models that are refused ----------------------------------------------------------------------------


class ModelRefused(UltraReadError):
    """The model cannot be trusted on this machine; it was not loaded."""

    code = "model_refused"
    http_status = 422
    exit_status = 5


class ModelUnknown(ModelRefused):
    """No model of that name, version or path."""

    code = "model_unknown"
    http_status = 404
    remedy = "`ultraread models ls` lists what there is."


class ModelCardInvalid(ModelRefused):
    """The card is missing or does not follow its schema."""

    code = "model_card_invalid"
    remedy = "Export the model again; the schema is models/card.schema.json."


class ModelHashMismatch(ModelRefused):
    """The model's bytes are not those that the card was written for."""

    code = "model_hash_mismatch"
    remedy = "Install the model again from its origin; do not edit the card."


class ModelFormatForbidden(ModelRefused):
    """Not an ONNX file; pickles are never opened."""

    code = "model_format_forbidden"
    remedy = "Export to ONNX."


class ModelInvalid(ModelRefused):
    """ONNX that the checker or the runtime does not accept."""

    code = "model_invalid"
    remedy = "Export the model again."


class ModelExternalData(ModelRefused):
    """Weights outside the .onnx file could be exchanged unseen."""

    code = "model_external_data"
    remedy = "Save the model with its weights inside the .onnx file."


class ModelOperatorNotAllowed(ModelRefused):
    """An operator outside the standard ONNX domains."""

    code = "model_op_not_allowed"
    remedy = "Export with the operators of the ai.onnx domain only."


class ModelTooLarge(ModelRefused):
    """Larger than a model may be here."""

    code = "model_too_large"
    remedy = "Models of up to 1 GiB are taken."


class ModelIoMismatch(ModelRefused):
    """Inputs or outputs are not those that the card states."""

    code = "model_io_mismatch"
    remedy = "Export with the input and outputs that the card names."


class ModelGoldenMismatch(ModelRefused):
    """The model does not reproduce its golden pair on this machine."""

    code = "model_golden_mismatch"
    remedy = "Do not use it here; compare ONNX Runtime's version and the processor with the card's."


class ModelOutputInvalid(ModelRefused):
    """NaN, infinite or out-of-range outputs."""

    code = "model_output_invalid"
    remedy = "Withdraw this model version."


class ModelConfigInvalid(ModelRefused):
    """The configuration that came with the model is not one that is understood."""

    code = "model_config_invalid"
    remedy = "Correct it, or leave it out and state its values as options: `ultraread models init --help`."


class LossNotFinite(ModelRefused):
    """The loss became NaN or infinite; training stopped at the named step."""

    code = "training_loss_not_finite"
    remedy = "Look at the named images, or lower learning_rate; the last checkpoint is from before."


class ModelParityFailed(ModelRefused):
    """The exported model does not compute what the trained network computes."""

    code = "model_parity_failed"
    remedy = "Nothing was written. Compare the versions of torch, onnx and ONNX Runtime with the card's."


class EvaluationInvalid(ModelRefused):
    """The evaluation is missing, unreadable, or of another model."""

    code = "evaluation_invalid"
    remedy = "Run `ultraread evaluate` on this model."


class PromotionRefused(ModelRefused):
    """The model version has not passed the gates of the alias."""

    code = "promotion_refused"
    http_status = 409
    remedy = "The named gates must pass first; the alias stays where it was."


class ModelVersionTaken(ModelRefused):
    """Another model is registered under this name and version."""

    code = "model_version_taken"
    http_status = 409
    remedy = "Give the card a new version and export again; what is registered never changes."


class ModelWithdrawn(ModelRefused):
    """The model version was withdrawn; nothing new is read with it."""

    code = "model_withdrawn"
    http_status = 409
    remedy = "Choose another version; `ultraread models ls` shows the reason."


# --- the machine, the service and its stores ------------------------------------------------------------


class Unavailable(UltraReadError):
    """Service, storage or registry cannot be reached or is full."""

    code = "service_unavailable"
    http_status = 503
    exit_status = 6
    remedy = "Start it with `ultraread serve`, or check --url; `ultraread doctor` tells what is wrong."


class ServiceBusy(Unavailable):
    """More is asked for at once than the service takes."""

    code = "service_busy"
    remedy = "Ask again after the seconds of Retry-After."
    headers: ClassVar = {"Retry-After": "2"}


class RequestTimeout(Unavailable):
    """The answer was not ready in time; what was begun may still end."""

    code = "request_timeout"
    http_status = 504
    remedy = "Ask whether it is there before you send it again, with the same Idempotency-Key."


class ViewBusy(Unavailable):
    """More pictures are asked for than can be made."""

    code = "view_busy"
    remedy = "Ask again in a second."
    headers: ClassVar = {"Retry-After": "1"}


class DecodingBusy(Unavailable):
    """More slides are to be opened than may be at once."""

    code = "decoding_busy"
    remedy = "Ask again in a moment, or raise decode_processes."
    headers: ClassVar = {"Retry-After": "5"}


class StorageFull(Unavailable):
    """No room to write."""

    code = "storage_full"
    http_status = 507
    remedy = "Free space and try again; nothing half-written is shown."


class DatabaseUnreachable(Unavailable):
    """The database does not answer; what is running waits for it."""

    code = "database_unreachable"
    remedy = (
        "Try again in a moment; the operator sees in the service's log and `ultraread doctor` what is wrong."
    )


class SqliteOnNetworkFs(Unavailable):
    """The database's file lies on a network file system, where SQLite would lose what it wrote."""

    code = "config_sqlite_on_network_fs"
    remedy = "Set data_dir to a local disk, or database_url to a PostgreSQL server."


class StorageUnreachable(Unavailable):
    """The object store does not answer, or not to these credentials."""

    code = "storage_unreachable"
    remedy = "Check its address and credentials (AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID), then try again."


class CheckpointDamaged(Unavailable):
    """A scored range is not as it was written; it is scored again."""

    code = "checkpoint_damaged"
    remedy = "Nothing is to be done for the read; check the disk that holds data_dir."


class MachineTooSmall(Unavailable):
    """The deployments do not fit this machine, so they would wait for ever."""

    code = "machine_too_small"
    remedy = "Lower the named setting or use a larger machine."


class ConfigInsecure(Unavailable):
    """A setting that would expose patient data."""

    code = "config_insecure"
    remedy = "Bind to loopback and put a reverse proxy with TLS in front."


class ConfigIncomplete(Unavailable):
    """Profile cluster lacks a part that every node can reach, or has one that only one node has."""

    code = "config_incomplete"
    remedy = "Set what is named; docs/guides/cluster.md has an example."


class DataDirNotShared(Unavailable):
    """Nodes of the cluster do not see the same data_dir."""

    code = "config_data_dir_not_shared"
    remedy = "Mount one shared file system at data_dir on every node, for the user that Ray runs as."


class SchemaTooNew(Unavailable):
    """The database was migrated to tables that this version cannot work with."""

    code = "config_schema_newer"
    remedy = "Install the version that migrated it, or a newer one."


class ExtraMissing(Unavailable):
    """A part of UltraRead that is not installed."""

    code = "extra_missing"
    remedy = "Install it as the message says."


class CorpusUnreachable(Unavailable):
    """A pinned public data set is neither mirrored nor downloadable."""

    code = "corpus_unreachable"
    remedy = "Set ULTRAREAD_DATA_MIRROR to a folder that holds it, or allow the download."


# --- integrity, and reads that ended badly --------------------------------------------------------------


class IntegrityFailed(UltraReadError):
    """Stored bytes are not those that were written."""

    code = "integrity_failed"
    http_status = 500
    exit_status = 7
    remedy = "Restore the named file from its copy."


class IdentityRemains(IntegrityFailed):
    """A copy that was to identify nobody still does; it was not kept."""

    code = "identity_remains"
    remedy = "Cover what is named with other software, and report which format it was."


class AuditChainBroken(IntegrityFailed):
    """An event of the audit trail was changed, removed, put in or moved; or its end was cut off."""

    code = "audit_chain_broken"
    remedy = (
        "Keep the database as it is, compare with an export or a backup, and find out who could write to it."
    )


class ReplayDiffers(IntegrityFailed):
    """A read that was run again gave other bytes than are stored."""

    code = "replay_differs"
    remedy = "What is named may be damaged, or this machine computes otherwise; see the differences."


class InputChanged(IntegrityFailed):
    """Slide, model or plan changed under a read."""

    code = "read_input_changed"
    http_status = 409
    remedy = "Start the read again without --resume."


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


def every_error(root: type[UltraReadError] = UltraReadError) -> Iterator[type[UltraReadError]]:
    """Yield the whole tree, parents first."""
    yield root
    for child in root.__subclasses__():
        yield from every_error(child)


def error_of_code(code: str) -> type[UltraReadError]:
    """Return the error that carries `code`; the base error where none does."""
    return next((error for error in every_error() if error.code == code), UltraReadError)
