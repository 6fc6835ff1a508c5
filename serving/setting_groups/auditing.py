"""Settings of auditing."""

from pathlib import Path

from pydantic import BaseModel, Field


class AuditingSettings(BaseModel):
    """What is signed of the audit trail, and how often."""

    audit_key_file: Path | None = Field(
        default=None,
        description="Private Ed25519 key that signs where the audit trail stands (`ultraread audit "
        "init-key`), outside of data_dir and of the database. Without a value, the trail is chained, but "
        "unsigned.",
    )
    audit_checkpoint_events: int = Field(
        default=1000, ge=1, description="Events of a site after which its audit trail is signed again."
    )
    audit_checkpoint_minutes: float = Field(
        default=15, gt=0, description="Minutes after which an audit trail that grew is signed again."
    )
    audit_checkpoint_file: Path | None = Field(
        default=None,
        description="File that gets every signed checkpoint as a line, too: best on another machine or on "
        "media that cannot be written over. Without a value, audit-checkpoints.jsonl in data_dir.",
    )
