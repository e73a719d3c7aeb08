"""Tenants and API keys."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.errors import ValidationFailed
from app.store.audit import SERVICE, By, record
from app.store.erasing import new_entry, noted
from app.store.records import StoredKey, StoredTenant
from app.store.sessions import Sessions
from app.store.tables import ApiKey, AppliedCalibration, Speaker, Tenant

_USE_NOTED: Final = timedelta(hours=1)
"""How far back the noted time of a key's last use may lie: a write for every request would cost more."""


class Access(Sessions):
    """The repository's methods on who may ask."""

    def check_vault(self) -> None:
        """Open what is sealed for one speaker, if there is any.

        Raises:
            MasterKeyInvalid: It was sealed with another master key.
            StorageUnavailable: The database does not answer.
        """
        with self._reading() as session:
            wrapped = session.scalar(select(Speaker.data_key).limit(1))
        if wrapped is not None:
            self._vault.opener(wrapped)

    def find_tenant(self, tenant_id: str) -> StoredTenant | None:
        """Reads a tenant; None when there is none.

        Raises:
            StorageUnavailable: The database does not answer.
        """
        with self._reading() as session:
            row = session.get(Tenant, tenant_id)
            return _tenant(session, row) if row is not None else None

    def list_tenants(self) -> list[StoredTenant]:
        """Reads every tenant, by name.

        Raises:
            StorageUnavailable: The database does not answer.
        """
        with self._reading() as session:
            rows = session.scalars(select(Tenant).order_by(Tenant.tenant_id)).all()
            return [_tenant(session, row) for row in rows]

    def make_tenant(self, tenant_id: str, *, by: By = SERVICE) -> StoredTenant:
        """Makes a tenant, or finds the one that is there.

        Raises:
            ConcurrentModification: Others were first every time.
            StorageUnavailable: The database does not answer.
        """

        def work(session: Session) -> StoredTenant:
            row = session.get(Tenant, tenant_id)
            if row is None:
                row = Tenant(tenant_id=tenant_id, policy={}, created_at=datetime.now(UTC))
                session.add(row)
                session.flush()
                record(session, self._vault, tenant_id, by, "tenant.created")
            return _tenant(session, row)

        return self._write(tenant_id, work)

    def change_tenant(
        self, tenant_id: str, changes: Mapping[str, Any], *, action: str, by: By = SERVICE
    ) -> StoredTenant:
        """Sets columns of a tenant, all at once: every process sees all of them or none.

        Args:
            tenant_id: Which.
            changes: Any of policy, model, previous_model, shadow_model.
            action: For the audit log.
            by: Who does it.

        Raises:
            ConcurrentModification: Others were first every time.
            StorageUnavailable: The database does not answer.
        """

        def work(session: Session) -> StoredTenant:
            row = session.scalars(select(Tenant).where(Tenant.tenant_id == tenant_id).with_for_update()).one()
            for name, value in changes.items():
                setattr(row, name, value)
            record(session, self._vault, tenant_id, by, action, facts=changes)
            return _tenant(session, row)

        return self._write(tenant_id, work)

    def find_key(self, key_id: str) -> tuple[StoredKey, StoredTenant] | None:
        """Reads a key and its tenant; None when there is no such key.

        Raises:
            StorageUnavailable: The database does not answer.
        """
        query = select(ApiKey, Tenant).join(Tenant, Tenant.tenant_id == ApiKey.tenant_id)
        with self._reading() as session:
            found = session.execute(query.where(ApiKey.key_id == key_id)).one_or_none()
            return (_key(found[0]), _tenant(session, found[1])) if found is not None else None

    def tenant_without_keys(self, tenant_id: str) -> StoredTenant | None:
        """Reads a tenant as long as nobody has made a key; None once somebody has.

        Raises:
            StorageUnavailable: The database does not answer.
        """
        query = select(Tenant).where(Tenant.tenant_id == tenant_id, ~select(ApiKey.key_id).exists())
        with self._reading() as session:
            row = session.scalars(query).one_or_none()
            return _tenant(session, row) if row is not None else None

    def has_keys(self) -> bool:
        """Whether any key was ever made: from then on, nobody is let in without one.

        Raises:
            StorageUnavailable: The database does not answer.
        """
        with self._reading() as session:
            return session.scalar(select(func.count()).select_from(select(ApiKey).limit(1).subquery())) == 1

    def list_keys(self, tenant_id: str | None = None) -> list[StoredKey]:
        """Reads the keys of a tenant, or all, by time.

        Raises:
            StorageUnavailable: The database does not answer.
        """
        query = select(ApiKey).order_by(ApiKey.created_at, ApiKey.key_id)
        if tenant_id is not None:
            query = query.where(ApiKey.tenant_id == tenant_id)
        with self._reading() as session:
            return [_key(row) for row in session.scalars(query)]

    def add_key(self, key: StoredKey, *, by: By = SERVICE) -> None:
        """Stores a new key.

        Raises:
            ConcurrentModification: Others were first every time.
            StorageUnavailable: The database does not answer.
        """

        def work(session: Session) -> None:
            session.add(
                ApiKey(
                    key_id=key.key_id,
                    tenant_id=key.tenant_id,
                    label=key.label,
                    secret_sha256=key.secret_sha256,
                    scopes=list(key.scopes),
                    rate_limit=key.rate_limit,
                    created_at=key.created_at,
                    expires_at=key.expires_at,
                )
            )
            session.flush()
            facts = {"key_id": key.key_id, "scopes": list(key.scopes)}
            record(session, self._vault, key.tenant_id, by, "key.created", facts=facts)

        self._write(key.key_id, work)

    def end_key(
        self, key_id: str, at: datetime, *, replaced_by: str | None = None, by: By = SERVICE
    ) -> StoredKey:
        """Lets a key expire at a moment, if it does not before.

        Raises:
            ValidationFailed: There is no such key.
            ConcurrentModification: Others were first every time.
            StorageUnavailable: The database does not answer.
        """

        def work(session: Session) -> StoredKey:
            row = session.scalars(
                select(ApiKey).where(ApiKey.key_id == key_id).with_for_update()
            ).one_or_none()
            if row is None:
                raise ValidationFailed("key_id", "there is no such key")
            row.expires_at = min(at, row.expires_at) if row.expires_at is not None else at
            row.replaced_by = replaced_by or row.replaced_by
            facts = {"key_id": key_id, "replaced_by": replaced_by, "ends": row.expires_at.isoformat()}
            noted(session, self._vault, new_entry("end-key", row.tenant_id, None, **facts), by)
            return _key(row)

        return self._write(key_id, work)

    def note_use(self, key: StoredKey) -> None:
        """Notes that a key was used, at most once an hour.

        Raises:
            ConcurrentModification: Others were first every time.
            StorageUnavailable: The database does not answer.
        """
        now = datetime.now(UTC)
        if key.used_at is not None and now - key.used_at < _USE_NOTED:
            return

        def work(session: Session) -> None:
            row = session.get(ApiKey, key.key_id)
            if row is not None:
                row.used_at = now

        self._write(key.key_id, work)


def _tenant(session: Session, row: Tenant) -> StoredTenant:
    applied = select(AppliedCalibration.model_id, AppliedCalibration.calibration_id)
    applied = applied.where(
        AppliedCalibration.tenant_id == row.tenant_id, AppliedCalibration.status == "applied"
    )
    return StoredTenant(
        tenant_id=row.tenant_id,
        policy=row.policy,
        model=row.model,
        previous_model=row.previous_model,
        shadow_model=row.shadow_model,
        created_at=row.created_at,
        calibrations=dict(session.execute(applied).all()),
    )


def _key(row: ApiKey) -> StoredKey:
    return StoredKey(
        key_id=row.key_id,
        tenant_id=row.tenant_id,
        label=row.label,
        secret_sha256=row.secret_sha256,
        scopes=tuple(row.scopes),
        rate_limit=row.rate_limit,
        created_at=row.created_at,
        expires_at=row.expires_at,
        used_at=row.used_at,
        replaced_by=row.replaced_by,
    )
