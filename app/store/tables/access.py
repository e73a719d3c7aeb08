"""Who may ask: tenants and their API keys."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from app.store.tables.columns import JSON_OBJECT, Base, UtcDateTime


class Tenant(Base):
    """Speakers, keys and rules that belong together and that nobody else sees."""

    __tablename__ = "tenants"

    tenant_id: Mapped[str] = mapped_column(String(128), primary_key=True)
    policy: Mapped[dict[str, Any]] = mapped_column(JSON_OBJECT)
    """What differs from the settings, by name."""
    model: Mapped[str | None] = mapped_column(String(128))
    """Name of the model that serves; NULL is the one of the settings."""
    previous_model: Mapped[str | None] = mapped_column(String(128))
    shadow_model: Mapped[str | None] = mapped_column(String(128))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class ApiKey(Base):
    """A key, without its secret: what is stored proves a secret and gives none away."""

    __tablename__ = "api_keys"

    key_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(String(128), ForeignKey("tenants.tenant_id", ondelete="CASCADE"))
    label: Mapped[str | None] = mapped_column(String())
    secret_sha256: Mapped[str] = mapped_column(String(64))
    scopes: Mapped[list[str]] = mapped_column(JSON_OBJECT)
    rate_limit: Mapped[str | None] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    expires_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    used_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    """When it was last used, to the hour."""
    replaced_by: Mapped[str | None] = mapped_column(String(32))
