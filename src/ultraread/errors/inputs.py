"""Inputs that are refused: nothing was read, nothing was written."""

from ultraread.errors.root import UltraReadError


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


class ArchiveUnsafeMember(InputRefused):
    """An archive of results with a member that leads elsewhere, or over another one, or is no file."""

    code = "archive_unsafe_member"
    remedy = "Fetch it again from the service itself; if it stays, somebody made this archive to do harm."


class ArchiveBomb(InputRefused):
    """An archive of results that is larger, or unpacks to more, than results do."""

    code = "archive_bomb"
    remedy = (
        "Fetch it again from the service itself; if it stays, somebody made this archive to fill the disk."
    )


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
