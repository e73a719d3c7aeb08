"""What every write does under its locks: galleries first, then the speaker, then the centroid.

The order is the same everywhere, so that two writers cannot wait for each other. A gallery's
row stays locked until its writer commits; therefore whoever reads version n of a gallery
sees every change up to n, and polling by version misses none.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app.errors import ValidationFailed
from app.scoring import centroid
from app.store.sealing import embedding_bytes, of_centroid, of_take, opened
from app.store.sessions import LostRace
from app.store.tables import Centroid, Enrollment, Gallery, Speaker
from app.store.vault import Vault


def lock_galleries(session: Session, tenant_id: str, *model_ids: str) -> dict[str, Gallery]:
    """Locks the tenant's galleries of these models, or all of them when none is named.

    A gallery that is named and does not exist yet is created.
    """
    query = select(Gallery).where(Gallery.tenant_id == tenant_id)
    if model_ids:
        query = query.where(Gallery.model_id.in_(model_ids))
    rows = session.scalars(query.order_by(Gallery.model_id).with_for_update())
    galleries = {gallery.model_id: gallery for gallery in rows}
    for model_id in sorted(set(model_ids) - galleries.keys()):
        galleries[model_id] = Gallery(tenant_id=tenant_id, model_id=model_id, version=0)
        session.add(galleries[model_id])
        session.flush()  # now, so that a second creator waits here and not at its commit
    return galleries


def lock_speaker(session: Session, tenant_id: str, speaker_id: str) -> Speaker | None:
    """The speaker, held against other writers until the transaction ends; None when there is none."""
    query = select(Speaker).where(Speaker.tenant_id == tenant_id, Speaker.speaker_id == speaker_id)
    return session.scalars(query.with_for_update()).one_or_none()


def drop_enrollments(session: Session, speaker_key: int) -> set[str]:
    """Deletes a speaker's recordings and names every model that knows the speaker."""
    session.execute(delete(Enrollment).where(Enrollment.speaker_key == speaker_key))
    return set(session.scalars(select(Centroid.model_id).where(Centroid.speaker_key == speaker_key)))


def derive_centroids(
    session: Session, vault: Vault, speaker: Speaker, model_ids: set[str], galleries: Mapping[str, Gallery]
) -> None:
    """Writes anew what follows from the enrollments, and moves the clocks of the galleries.

    A speaker without enrollments is left with a tombstone.

    Raises:
        LostRace: A model came to the speaker after the galleries were locked.
    """
    for model_id in sorted(model_ids):
        if model_id not in galleries:
            raise LostRace
        gallery = galleries[model_id]
        gallery.version += 1
        mean, speech_s, count = _mean_of_takes(session, vault, speaker, model_id)
        row = session.get(Centroid, (speaker.key, model_id))
        if row is None:
            row = Centroid(speaker_key=speaker.key, model_id=model_id, tenant_id=gallery.tenant_id)
            session.add(row)
        row.embedding, row.speech_s, row.enrollments_count = mean, speech_s, count
        row.version = gallery.version
    session.flush()


def _mean_of_takes(
    session: Session, vault: Vault, speaker: Speaker, model_id: str
) -> tuple[bytes | None, float, int]:
    """Sealed centroid, seconds of speech and number of what a speaker has enrolled under a model."""
    takes = session.execute(
        select(Enrollment.enrollment_id, Enrollment.embedding, Enrollment.speech_s)
        .where(Enrollment.speaker_key == speaker.key, Enrollment.model_id == model_id)
        .order_by(Enrollment.created_at, Enrollment.enrollment_id)  # one order, one rounding
    ).all()
    if not takes:
        return None, 0.0, 0
    opener = vault.opener(speaker.data_key)
    weights = [take.speech_s for take in takes]
    mean = centroid(
        np.stack([opened(opener, take.embedding, of_take(take.enrollment_id)) for take in takes]), weights
    )
    assert speaker.data_key is not None  # or the opener would have refused
    sealed = vault.seal(speaker.data_key, embedding_bytes(mean), of_centroid(speaker.key, model_id))
    return sealed, float(sum(weights)), len(takes)


def check_storable(field: str, value: Any) -> None:
    """Refuses what one of the databases could not hold, so that both hold the same.

    Raises:
        ValidationFailed: The value has NUL characters, half surrogate pairs, or numbers that JSON lacks.
    """
    try:
        as_json = json.dumps(value, ensure_ascii=False, allow_nan=False)
        as_json.encode()
    except (TypeError, ValueError) as problem:
        raise ValidationFailed(field, f"it is not text or JSON that can be stored ({problem})") from problem
    # json.dumps writes NUL as \u0000, and a backslash of the value's own as two.
    if "\\u0000" in as_json.replace("\\\\", ""):
        raise ValidationFailed(field, "it holds a NUL character")
