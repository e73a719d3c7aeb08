"""Sealing: what is stored of a voice can be read with the master key only, and not after its own key is gone.

Every speaker has a data key, stored wrapped by the master key beside the speaker. What belongs to the speaker
is sealed with it, so that deleting one small row makes every copy of the rest unreadable, backups included,
as long as the backup does not hold that row.

Source: AES-256-GCM, NIST SP 800-38D; HKDF, RFC 5869.
"""

import base64
import binascii
import hashlib
import hmac
import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from app.errors import MasterKeyInvalid

_KEY_BYTES: Final = 32
_LASTING_BYTES: Final = 2 * _KEY_BYTES
_NONCE_BYTES: Final = 12
_WRAPPING: Final = b"data key"


class Vault:
    """The master key and what is done with it; safe to share between threads."""

    def __init__(self, master_key: bytes, name: str = "the master key", lasting: bytes | None = None) -> None:
        """Take a key of 32 bytes.

        Args:
            master_key: Whoever has it can read every stored voice.
            name: Where it came from, for messages.
            lasting: 64 bytes, which make subjects and proofs: a log cannot be written anew, so they
                outlive a change of the key. None derives them from it: it is the first.

        Raises:
            MasterKeyInvalid: It has another length.
        """
        if len(master_key) != _KEY_BYTES:
            raise MasterKeyInvalid(name, f"it has {len(master_key)} bytes, {_KEY_BYTES} are needed")
        self.name: Final = name
        self._wrapper: Final = AESGCM(_derived(master_key, b"timbre wrapping"))
        self._tokens: Final = AESGCM(_derived(master_key, b"timbre tokens"))
        if lasting is None:
            lasting = _derived(master_key, b"timbre subjects") + _derived(master_key, b"timbre proofs")
        self._lasting: Final = lasting
        if len(self._lasting) != _LASTING_BYTES:
            raise MasterKeyInvalid(name, f"its second part has {len(self._lasting)} bytes")
        self._subjects: Final = self._lasting[:_KEY_BYTES]
        self._proofs: Final = self._lasting[_KEY_BYTES:]

    @classmethod
    def load(cls, path: Path, given: str | None = None, make: Callable[[], str] | None = None) -> Self:
        """Read the master key, or make one where there is none yet.

        Args:
            path: File with the key in base64; made, readable by its owner only, when it is missing.
            given: The key itself in base64; the file is not looked at then.
            make: The text of a new key; None: 32 random bytes.

        Raises:
            MasterKeyInvalid: It cannot be read or is no key.
        """
        if given is not None:
            return cls._read(given, "TIMBRE_MASTER_KEY")
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            except FileExistsError:
                return cls._read(_settled(path), str(path))
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write((make or _new_key)() + "\n")
                file.flush()
                os.fsync(file.fileno())
            sync(path.parent)
            return cls._read(path.read_text(encoding="ascii"), str(path))
        except (OSError, UnicodeDecodeError) as problem:
            raise MasterKeyInvalid(str(path), str(getattr(problem, "strerror", problem))) from problem

    @classmethod
    def _read(cls, text: str, name: str) -> Self:
        key, dot, lasting = text.strip().partition(".")
        return cls(_decoded(key, name), name, _decoded(lasting, name) if dot else None)

    def successor(self) -> str:
        """The text of a new master key that keeps the subjects and proofs of this one."""
        return f"{_new_key()}.{base64.b64encode(self._lasting).decode()}"

    def succeeds(self, other: "Vault") -> bool:
        """Whether both make the same subjects and proofs: one was made to take the place of the other."""
        return hmac.compare_digest(self._lasting, other._lasting)

    def take_over(self, wrapped: bytes, former: "Vault") -> bytes:
        """A data key that `former` wrapped, wrapped by this master key; one that is already stays as it is.

        Raises:
            MasterKeyInvalid: Neither has wrapped it.
        """
        try:
            key = former._data_key(wrapped)
        except MasterKeyInvalid:
            self._data_key(wrapped)
            return wrapped
        return _sealed(self._wrapper, key, _WRAPPING)

    def new_data_key(self) -> bytes:
        """A new key for one speaker, wrapped."""
        return _sealed(self._wrapper, os.urandom(_KEY_BYTES), _WRAPPING)

    def seal(self, wrapped: bytes, data: bytes, about: str) -> bytes:
        """Seal what belongs to a speaker.

        Args:
            wrapped: The speaker's wrapped data key.
            data: What is to be stored.
            about: Which row it is for; it opens for no other.

        Raises:
            MasterKeyInvalid: The data key was wrapped by another master key.
        """
        return _sealed(self._unwrapped(wrapped), data, about.encode())

    def open(self, wrapped: bytes | None, sealed: bytes, about: str) -> bytes:
        """Read what `seal` made of the same arguments.

        Raises:
            MasterKeyInvalid: The key or the row is another one, or a byte was changed.
        """
        return self.opener(wrapped)(sealed, about)

    def opener(self, wrapped: bytes | None) -> "Opener":
        """A function (sealed, about) → data for many rows of one speaker; raises as `open`."""
        return Opener(self._unwrapped(wrapped), self.name)

    def seal_token(self, facts: Mapping[str, Any]) -> str:
        """Facts as a text that nobody else can read or make, fit for a URL."""
        sealed = _sealed(self._tokens, json.dumps(facts, separators=(",", ":")).encode(), b"")
        return base64.urlsafe_b64encode(sealed).decode().rstrip("=")

    def open_token(self, token: str) -> dict[str, Any]:
        """The facts in a token.

        Raises:
            ValueError: It was not made by this master key.
        """
        try:
            sealed = base64.b64decode(token + "=" * (-len(token) % 4), b"-_", validate=True)
            facts = json.loads(self._tokens.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], b""))
        except (binascii.Error, InvalidTag, ValueError) as problem:
            raise ValueError("it is no token of this service") from problem
        return dict(facts)

    def subject(self, tenant_id: str, speaker_id: str) -> str:
        """A digest that stands for a speaker where the name must not: 64 hexadecimal digits."""
        message = f"{tenant_id}\0{speaker_id}".encode()
        return hmac.new(self._subjects, message, hashlib.sha256).hexdigest()

    def mac(self, purpose: str, data: bytes) -> str:
        """Proves that whoever has the master key wrote `data` for this purpose: 64 hexadecimal digits."""
        return hmac.new(self._proofs, f"{purpose}\0".encode() + data, hashlib.sha256).hexdigest()

    def is_mac(self, purpose: str, data: bytes, mac: str) -> bool:
        """Whether `mac` proves that."""
        return hmac.compare_digest(self.mac(purpose, data).encode(), mac.encode())

    def _unwrapped(self, wrapped: bytes | None) -> AESGCM:
        if wrapped is None:
            raise MasterKeyInvalid(self.name, "a speaker has no data key")
        return AESGCM(self._data_key(wrapped))

    def _data_key(self, wrapped: bytes) -> bytes:
        try:
            return self._wrapper.decrypt(wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:], _WRAPPING)
        except (InvalidTag, ValueError):
            raise MasterKeyInvalid(self.name, "the stored voices were sealed with another one") from None


class Opener:
    """Reads what was sealed for one speaker."""

    def __init__(self, cipher: AESGCM, name: str) -> None:
        self._cipher, self._name = cipher, name

    def __call__(self, sealed: bytes, about: str) -> bytes:
        """The data; raises MasterKeyInvalid when the row is another one or was changed."""
        try:
            return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], about.encode())
        except (InvalidTag, ValueError):
            raise MasterKeyInvalid(self._name, "a stored row was changed outside of the service") from None


def _sealed(cipher: AESGCM, data: bytes, about: bytes) -> bytes:
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + cipher.encrypt(nonce, data, about)


def sync(path: Path) -> None:
    """Makes sure that a file, or the names in a folder, outlive a power failure.

    Raises:
        OSError: The disk fails.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _new_key() -> str:
    return base64.b64encode(os.urandom(_KEY_BYTES)).decode()


def _derived(master_key: bytes, purpose: bytes) -> bytes:
    return HKDF(SHA256(), _KEY_BYTES, salt=None, info=purpose).derive(master_key)


def _settled(path: Path) -> str:
    """The text of the file; another process may have made it a moment ago and not yet written it."""
    for _ in range(50):
        text = path.read_text(encoding="ascii")
        if text.strip():
            return text
        time.sleep(0.02)
    return text


def _decoded(text: str, name: str) -> bytes:
    try:
        return base64.b64decode(text.strip(), validate=True)
    except binascii.Error as problem:
        raise MasterKeyInvalid(name, "it is not base64") from problem
