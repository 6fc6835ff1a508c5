"""What is not as it was written."""

from ultraread.errors.root import UltraReadError


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
