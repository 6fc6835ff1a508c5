"""Ed25519 keys and what they sign: that a site's chain had this end at this time."""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

import rfc8785
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from ultraread.errors import ConfigInsecure, OutputExists, RequestInvalid
from ultraread.serving.setting_groups.secret_file import OTHERS
from ultraread.serving.storage.durable import full_storage_coded

FORMAT = "ultraread-audit-checkpoint-1"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where a site's chain ended at a time, by the database's clock; key and signature are hex."""

    site: str
    sequence: int
    hash: str
    at: str
    public_key: str = ""
    signature: str = ""

    @property
    def holds(self) -> bool:
        """Whether `public_key` signed this; whose key that is, it does not say."""
        try:
            key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(self.public_key))
            key.verify(bytes.fromhex(self.signature), self._signed())
        except (ValueError, TypeError, InvalidSignature):
            return False
        return True

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Self:
        """Raises KeyError where a field is missing, TypeError where the number is none.

        What is no text, as only tampering leaves it, becomes text that nobody signed.
        """
        if not isinstance(body["sequence"], int):
            raise TypeError("sequence")
        texts = {name: str(body[name]) for name in cls.__slots__ if name != "sequence"}
        return cls(sequence=body["sequence"], **texts)

    def _signed(self) -> bytes:
        told: dict[str, Any] = {
            "format": FORMAT,
            "site": self.site,
            "sequence": self.sequence,
            "hash": self.hash,
            "at": self.at,
        }
        return rfc8785.dumps(told)


@dataclass(frozen=True, slots=True)
class Signer:
    """Holds the private key; it never leaves this process."""

    key: Ed25519PrivateKey

    @property
    def public_key(self) -> str:
        return _hex(self.key.public_key())

    def sign(self, checkpoint: Checkpoint) -> Checkpoint:
        mine = replace(checkpoint, public_key=self.public_key)
        return replace(mine, signature=self.key.sign(mine._signed()).hex())


def make_key(path: Path) -> Path:
    """Write a new private key, for its owner's eyes only, and beside it the public one; return its path.

    Raises OutputExists where there is one, RequestInvalid where it cannot be written, StorageFull.
    """
    key, public = Ed25519PrivateKey.generate(), path.with_name(f"{path.name}.pub")
    try:
        with full_storage_coded("the key"):
            _write_new(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), 0o600)
            pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
            _write_new(public, pem, 0o644)
    except FileExistsError as there:
        raise OutputExists(
            f"{there.filename} exists", "Name another file: keys are never replaced."
        ) from there
    except OSError as failure:
        raise RequestInvalid(
            f"{path} cannot be written ({failure.strerror})",
            "Make its folder first, or name a file that you may write.",
        ) from failure
    return public


def refuse_within(data_dir: Path, path: Path) -> None:
    """Raise ConfigInsecure for a key in the data folder: whoever takes that could sign another trail."""
    if path.resolve().is_relative_to(data_dir.resolve()):
        raise ConfigInsecure(
            f"the key {path} lies in data_dir", "Keep the key elsewhere, away from what it vouches for."
        )


def load_signer(path: Path, data_dir: Path) -> Signer:
    """Raises ConfigInsecure for a key that others may read, that lies in `data_dir`, or that is none."""
    refuse_within(data_dir, path)
    try:
        if path.stat().st_mode & OTHERS:
            raise ConfigInsecure("others may read audit_key_file", "chmod 600 it; better, make a new one.")
        key = load_pem_private_key(path.read_bytes(), None)
    except OSError as failure:
        raise ConfigInsecure(
            f"audit_key_file cannot be read ({failure.strerror})", "Make one: ultraread audit init-key."
        ) from failure
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigInsecure("audit_key_file holds no Ed25519 key", "Make one: ultraread audit init-key.")
    return Signer(key)


def load_public_key(path: Path) -> str:
    """The public key in a PEM file, as hex. Raises RequestInvalid."""
    try:
        key = load_pem_public_key(path.read_bytes())
    except OSError as failure:
        raise RequestInvalid(
            f"{path} cannot be read ({failure.strerror})", "Check --public-key."
        ) from failure
    except (ValueError, UnsupportedAlgorithm) as failure:
        raise RequestInvalid(f"{path} is no public key", "Name the file that ends in .pub.") from failure
    if not isinstance(key, Ed25519PublicKey):
        raise RequestInvalid(f"{path} is no Ed25519 key", "Name the file that ends in .pub.")
    return _hex(key)


def _hex(key: Ed25519PublicKey) -> str:
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw).hex()


def _write_new(path: Path, data: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with open(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
