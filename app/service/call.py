"""One call: who asks, by which rules, and the model and gallery that serve them at this moment."""

from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias, get_args

from app.audio.quality import QualityLimits
from app.audio.workers import DecoderPool
from app.embedder import Embedder
from app.errors import InsufficientScope
from app.scoring import Calibration
from app.service.gallery import Gallery
from app.service.parts import Parts
from app.service.policy import Policy
from app.service.shelf import Serving
from app.service.trace import current
from app.settings import Settings
from app.store import By, Repository, Vault
from app.store.records import StoredTenant

Scope: TypeAlias = Literal["enroll", "identify", "verify", "read", "admin"]
"""What a key may do; `admin` may do everything that its tenant can."""
SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)


@dataclass(frozen=True)
class Caller:
    """Who asks."""

    actor: str
    """The id of a key, `anonymous`, `cli` or `service`."""
    scopes: frozenset[str] = field(default_factory=lambda: frozenset(SCOPES))

    def may(self, *any_of: str) -> bool:
        """Whether one of these scopes is among the caller's."""
        return "admin" in self.scopes or not self.scopes.isdisjoint(any_of)


@dataclass(frozen=True)
class Call:
    """What a use case works with."""

    parts: Parts
    tenant: StoredTenant
    caller: Caller
    policy: Policy
    serving: Serving
    calibration: Calibration
    """What scores mean to this tenant: the model's calibration, or the tenant's own."""

    def need(self, *any_of: Scope) -> None:
        """Go on only with one of these scopes, or where none is named.

        Raises:
            InsufficientScope: The key has none of them.
        """
        if any_of and not self.caller.may(*any_of):
            raise InsufficientScope(" or ".join(any_of), ", ".join(sorted(self.caller.scopes)) or "none")

    @property
    def tenant_id(self) -> str:
        """Whose speakers."""
        return self.tenant.tenant_id

    @property
    def by(self) -> By:
        """Who does it, for the audit log."""
        return By(self.caller.actor, current().request_id or None, current().begun)

    @property
    def settings(self) -> Settings:
        """The settings of the service."""
        return self.parts.settings

    @property
    def repository(self) -> Repository:
        """The store."""
        return self.parts.repository

    @property
    def vault(self) -> Vault:
        """Seals and opens."""
        return self.parts.vault

    @property
    def decoders(self) -> DecoderPool:
        """From bytes to utterances."""
        return self.parts.decoders

    @property
    def embedder(self) -> Embedder:
        """The model that serves."""
        return self.serving.embedder

    @property
    def model_id(self) -> str:
        """Identifier of the model that serves; embeddings are compared under one id only."""
        return self.serving.model_id

    @property
    def gallery(self) -> Gallery:
        """The tenant's speakers under the model that serves."""
        return self.parts.galleries.of(self.tenant_id, self.serving)

    @property
    def limits(self) -> QualityLimits:
        """What one recording must reach."""
        return self.parts.limits
