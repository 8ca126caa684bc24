"""Addresses that hold a signature lie sealed in the database: who reads it cannot use them."""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING

from cryptography.fernet import Fernet, InvalidToken

from springtide.domain.errors import NotFound

if TYPE_CHECKING:
    from pydantic import SecretStr

__all__ = ["is_sealed", "seal", "unseal"]

MARK = "sealed:"

PURPOSE = b"springtide: addresses that clients of jobs have named\n"  # the secret signs webhooks too


def seal(address: str, secret: SecretStr) -> str:
    """An address as only who has the secret can read it (Fernet: AES-128 and HMAC-SHA256)."""
    return MARK + _box(secret).encrypt(address.encode()).decode()


def is_sealed(text: str) -> bool:
    """Whether a text is a sealed address."""
    return text.startswith(MARK)


def unseal(sealed: str, secret: SecretStr | None) -> str:
    """The address again.

    Raises
    ------
    NotFound
        If it was sealed with another secret.
    """
    if secret is None:
        raise _lost()
    try:
        return _box(secret).decrypt(sealed.removeprefix(MARK).encode()).decode()
    except InvalidToken as error:
        raise _lost() from error


def _lost() -> NotFound:
    return NotFound(
        "the address cannot be read: it was sealed with another secret",
        where="`secret` in section [jobs] of springtide.toml",
        do="restore the secret, or send the job again",
    )


def _box(secret: SecretStr) -> Fernet:
    key = hashlib.sha256(PURPOSE + secret.get_secret_value().encode()).digest()
    return Fernet(base64.urlsafe_b64encode(key))
