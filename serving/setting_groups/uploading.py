"""Settings of what comes in, and of who is told when a read ends."""

from pathlib import Path

from pydantic import BaseModel, Field


class UploadingSettings(BaseModel):
    """Uploads, objects that are fetched and delivered, and webhooks."""

    max_upload_bytes: int = Field(
        default=200 * 2**30, ge=1, description="Bytes of one file; whole montages reach 100 gigapixels."
    )
    upload_quota_bytes: int = Field(
        default=500 * 2**30,
        ge=1,
        description="Bytes, as announced, that a site may have in uploads which are not filed yet.",
    )
    upload_quota_files: int = Field(
        default=100_000, ge=1, description="Uploads that a site may have which are not filed yet."
    )
    upload_expires_hours: float = Field(
        default=48, gt=0, description="Hours without a part after which an upload is thrown away."
    )
    ingest_urls: tuple[str, ...] = Field(
        default=(),
        description="s3://bucket/prefix addresses below which slides may be fetched (`url` in POST "
        "/v1/slides), with {site} where the name of the site has to stand; one without it is for site main "
        "alone. Without any, none.",
    )
    deliver_url: str | None = Field(
        default=None,
        description="Folder or s3://bucket/prefix that gets a copy of every result, those of the last "
        "queue_days included, below the name of its site; manifest.json comes last.",
    )
    webhook_hosts: tuple[str, ...] = Field(
        default=(),
        description="Hosts (`name`, `name:port` or an IP address) that may be told over https when a read "
        "ends; without any, none.",
    )
    webhook_http_hosts: tuple[str, ...] = Field(
        default=(),
        description="The same for http without encryption: loopback, or a network that you trust.",
    )
    webhook_networks: tuple[str, ...] = Field(
        default=(),
        description="Private networks (`10.2.0.0/16`) that names of these hosts may lead to.",
    )
    webhook_key_file: Path | None = Field(
        default=None,
        description="File of the key that secrets of webhooks are derived from. Without a value, webhook.key "
        "in data_dir, made at the first start.",
    )
    webhook_attempts: int = Field(
        default=15,
        ge=1,
        description="Tries of one delivery, further and further apart, until it is given up: about "
        "five hours.",
    )
