"""Who may do what: from the key of a request to the call that it opens."""

import hashlib
import hmac
import ipaddress
import re
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from app.errors import (
    ConcurrentModification,
    ModelNotReady,
    StorageUnavailable,
    TimbreError,
    Unauthorized,
    ValidationFailed,
)
from app.service.calibrations import calibration_in_force
from app.service.call import SCOPES, Call, Caller
from app.service.parts import DEFAULT_TENANT, Parts
from app.service.policy import Policy
from app.service.rates import checked_limit
from app.service.trace import stage
from app.store import By, Repository
from app.store.records import StoredKey, StoredTenant

_TOKEN: Final = re.compile(r"tmb_([0-9a-z]{12})_([A-Za-z0-9_-]{43})")
_TENANT_ID: Final = re.compile(r"[A-Za-z0-9._~-]{1,128}")
CLI: Final = By("cli")


@dataclass(frozen=True)
class NewKey:
    """A key that was just made: the only moment at which its secret is known."""

    token: str
    key: StoredKey


def open_call(parts: Parts, token: str | None, peer: str | None, host: str | None = None) -> Call:
    """Open the call of a request.

    Args:
        parts: The joined parts.
        token: The key as it was sent; None without one.
        peer: Address of the other end, as the server sees it; None where there is none, as in process.
        host: Name under which the other end reached the service.

    Raises:
        Unauthorized: There is no key and one is needed, or it is unknown, expired or revoked.
        RateLimited: The key has asked too often.
        StorageUnavailable: The database does not answer.
    """
    with stage("store"):
        key, tenant = _known(parts, token) if token is not None else (None, _anonymous(parts, peer, host))
    policy = Policy.of(parts.settings, tenant.policy)
    caller = Caller(key.key_id, frozenset(key.scopes)) if key is not None else Caller("anonymous")
    parts.rates.count(caller.actor, (key.rate_limit if key is not None else None) or policy.rate_limit)
    return _opened(parts, tenant, caller, policy)


def call_of(parts: Parts, tenant_id: str, *, actor: str = "service") -> Call:
    """Open a call for work that no request waits for.

    Raises:
        ValidationFailed: There is no such tenant.
        StorageUnavailable: The database does not answer.
    """
    tenant = parts.repository.find_tenant(tenant_id)
    if tenant is None:
        raise ValidationFailed("tenant_id", "there is no such tenant")
    return _opened(parts, tenant, Caller(actor), Policy.of(parts.settings, tenant.policy))


def _opened(parts: Parts, tenant: StoredTenant, caller: Caller, policy: Policy) -> Call:
    try:
        serving = parts.serving_for(tenant)
    except StorageUnavailable:
        raise
    except TimbreError as problem:
        # The folder of a model that was activated is gone or damaged here; nothing about it is the caller's.
        raise ModelNotReady from problem
    with stage("store"):
        calibration = calibration_in_force(parts.repository, tenant, serving)
    return Call(parts, tenant, caller, policy, serving, calibration)


def _known(parts: Parts, token: str) -> tuple[StoredKey, StoredTenant]:
    parsed = _TOKEN.fullmatch(token.strip())
    found = parts.repository.find_key(parsed[1]) if parsed is not None else None
    # A digest is compared in any case, so that the time tells nothing about which ids there are.
    stored = found[0].secret_sha256 if found is not None else "0" * 64
    given = _digest(parsed[2] if parsed is not None else "")
    if not hmac.compare_digest(stored, given) or found is None:
        raise Unauthorized("The key is unknown")
    key, tenant = found
    if key.expires_at is not None and key.expires_at <= datetime.now(UTC):
        raise Unauthorized("The key has expired or was revoked")
    with suppress(StorageUnavailable, ConcurrentModification):
        parts.repository.note_use(key)
    return key, tenant


def _anonymous(parts: Parts, peer: str | None, host: str | None) -> StoredTenant:
    tenant = parts.repository.tenant_without_keys(DEFAULT_TENANT)
    if tenant is None:
        raise Unauthorized("There is no key in the request")
    # By name too: a page can make a browser call a name of its own that leads to this machine.
    if not parts.settings.open and not (is_loopback(peer) and is_loopback(host)):
        raise Unauthorized("No key was made yet, so only the machine itself is let in")
    return tenant


def is_loopback(host: str | None) -> bool:
    """Whether an address is the machine's own; None, within the process, is."""
    if host is None or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


# ---------------------------------------------------------------- keys and tenants, for the command line


def make_key(
    repository: Repository,
    tenant_id: str,
    scopes: Sequence[str],
    *,
    label: str | None = None,
    days: float | None = None,
    rate_limit: str | None = None,
) -> NewKey:
    """Make a key, and its tenant when that is new.

    Args:
        repository: The store.
        tenant_id: 1 to 128 of A-Z a-z 0-9 . _ ~ -
        scopes: What it may do.
        label: For people.
        days: Until it expires; None never.
        rate_limit: Its own limit, as `600/minute`.

    Raises:
        ValidationFailed: A scope is unknown, the tenant's name is not well formed, or the limit is none.
        StorageUnavailable: The database does not answer.
    """
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown or not scopes:
        raise ValidationFailed("scopes", f"choose from {', '.join(SCOPES)}")
    if not _TENANT_ID.fullmatch(tenant_id):
        raise ValidationFailed("tenant", "use 1 to 128 characters of A-Z a-z 0-9 . _ ~ -")
    repository.make_tenant(tenant_id, by=CLI)
    key_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    now = datetime.now(UTC)
    key = StoredKey(
        key_id=key_id,
        tenant_id=tenant_id,
        label=label,
        secret_sha256=_digest(secret),
        scopes=tuple(sorted(set(scopes))),
        rate_limit=checked_limit(rate_limit),
        created_at=now,
        expires_at=None if days is None else now + timedelta(days=days),
        used_at=None,
        replaced_by=None,
    )
    repository.add_key(key, by=CLI)
    return NewKey(f"tmb_{key_id}_{secret}", key)


def rotate_key(repository: Repository, key_id: str, overlap_h: float) -> NewKey:
    """Make a key like an old one, and let the old one expire.

    Args:
        repository: The store.
        key_id: The old one.
        overlap_h: Hours for which both are good.

    Raises:
        ValidationFailed: There is no such key.
        StorageUnavailable: The database does not answer.
    """
    found = repository.find_key(key_id)
    if found is None:
        raise ValidationFailed("key_id", "there is no such key")
    old = found[0]
    new = make_key(repository, old.tenant_id, old.scopes, label=old.label, rate_limit=old.rate_limit)
    end = datetime.now(UTC) + timedelta(hours=overlap_h)
    repository.end_key(key_id, end, replaced_by=new.key.key_id, by=CLI)
    return new


def revoke_key(repository: Repository, key_id: str) -> StoredKey:
    """Let a key expire now.

    Raises:
        ValidationFailed: There is no such key.
        StorageUnavailable: The database does not answer.
    """
    return repository.end_key(key_id, datetime.now(UTC), by=CLI)


def _digest(secret: str) -> str:
    """A fast digest is enough: the secret has 256 bits of chance, so there is nothing to guess."""
    return hashlib.sha256(secret.encode()).hexdigest()
