"""Tenants, keys, sealed embeddings, kept recordings, audit, erasures, jobs, feedback, calibrations.

Revision 0002, after 0001. Embeddings that lie there plainly are sealed on the way up, each speaker's with a
key of its own, and opened again on the way down: both need the master key.
"""

from datetime import UTC, datetime
from functools import partial

import sqlalchemy as sa
from alembic import context, op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
MOMENT = sa.DateTime(timezone=True)
TABLES = (
    *("recordings", "lockouts", "job_rows", "feedback", "api_keys", "tenants", "shadow_scores", "replays"),
    *("opt_outs", "jobs", "erasures", "calibrations", "audit_log", "audit_heads"),
)


def upgrade() -> None:
    op.create_table(
        "audit_heads",
        sa.Column("tenant_id", sa.String(128), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", name="pk_audit_heads"),
    )
    op.create_table(
        "audit_log",
        sa.Column("tenant_id", sa.String(128), nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("actor", sa.String(64), nullable=False),
        sa.Column("action", sa.String(64), nullable=False),
        sa.Column("subject", sa.String(64)),
        sa.Column("facts", JSON, nullable=False),
        sa.Column("request_id", sa.String(128)),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "number", name="pk_audit_log"),
    )
    op.create_index("ix_audit_log_tenant_id_subject", "audit_log", ["tenant_id", "subject"])
    op.create_table(
        "calibrations",
        sa.Column("calibration_id", sa.String(64), nullable=False),
        sa.Column("tenant_id", sa.String(128), nullable=False),
        sa.Column("model_id", sa.String(128), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("content", JSON, nullable=False),
        sa.Column("figures", JSON, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("applied_at", MOMENT),
        sa.PrimaryKeyConstraint("calibration_id", name="pk_calibrations"),
    )
    op.create_index("ix_calibrations_tenant_id_model_id", "calibrations", ["tenant_id", "model_id"])
    op.create_table(
        "erasures",
        sa.Column("receipt_id", sa.String(64), nullable=False),
        sa.Column("tenant_id", sa.String(128), nullable=False),
        sa.Column("subject", sa.String(64), nullable=False),
        sa.Column("reason", sa.String(32), nullable=False),
        sa.Column("enrollments", sa.Integer(), nullable=False),
        sa.Column("recordings", sa.Integer(), nullable=False),
        sa.Column("erased_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("receipt_id", name="pk_erasures"),
    )
    op.create_index("ix_erasures_tenant_id_subject", "erasures", ["tenant_id", "subject"])
    op.create_table(
        "jobs",
        sa.Column("job_id", sa.String(64), nullable=False),
        sa.Column("tenant_id", sa.String(128), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("actor", sa.String(64), nullable=False),
        sa.Column("wish", JSON, nullable=False),
        sa.Column("done", sa.Integer(), nullable=False),
        sa.Column("total", sa.Integer()),
        sa.Column("counts", JSON, nullable=False),
        sa.Column("problem", JSON),
        sa.Column("worker", sa.String(64)),
        sa.Column("alive_at", MOMENT),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("started_at", MOMENT),
        sa.Column("ended_at", MOMENT),
        sa.PrimaryKeyConstraint("job_id", name="pk_jobs"),
    )
    op.create_index("ix_jobs_status", "jobs", ["status"])
    op.create_index("ix_jobs_tenant_id_created_at", "jobs", ["tenant_id", "created_at"])
    op.create_table(
        "opt_outs",
        sa.Column("tenant_id", sa.String(128), nullable=False),
        sa.Column("subject", sa.String(64), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "subject", name="pk_opt_outs"),
    )
    op.create_table(
        "replays",
        sa.Column("tenant_id", sa.String(128), nullable=False),
        sa.Column("idempotency_key", sa.String(128), nullable=False),
        sa.Column("route", sa.String(256), nullable=False),
        sa.Column("fingerprint", sa.String(64)),
        sa.Column("subject", sa.String(64)),
        sa.Column("status", sa.Integer()),
        sa.Column("headers", JSON),
        sa.Column("sealed", sa.LargeBinary()),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "idempotency_key", name="pk_replays"),
    )
    op.create_index("ix_replays_created_at", "replays", ["created_at"])
    op.create_index("ix_replays_tenant_id_subject", "replays", ["tenant_id", "subject"])
    op.create_table(
        "shadow_scores",
        sa.Column("decision", sa.String(64), nullable=False),
        sa.Column("tenant_id", sa.String(128), nullable=False),
        sa.Column("model_id", sa.String(128), nullable=False),
        sa.Column("shadow_model_id", sa.String(128), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("shadow_outcome", sa.String(16), nullable=False),
        sa.Column("score", sa.Float(53)),
        sa.Column("shadow_score", sa.Float(53)),
        sa.Column("same_speaker", sa.Boolean(), nullable=False),
        sa.Column("decided_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("decision", name="pk_shadow_scores"),
    )
    op.create_index(
        "ix_shadow_scores_tenant_id_shadow_model_id", "shadow_scores", ["tenant_id", "shadow_model_id"]
    )
    op.create_table(
        "tenants",
        sa.Column("tenant_id", sa.String(128), nullable=False),
        sa.Column("policy", JSON, nullable=False),
        sa.Column("model", sa.String(128)),
        sa.Column("previous_model", sa.String(128)),
        sa.Column("shadow_model", sa.String(128)),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", name="pk_tenants"),
    )
    op.create_table(
        "api_keys",
        sa.Column("key_id", sa.String(32), nullable=False),
        sa.Column("tenant_id", sa.String(128), nullable=False),
        sa.Column("label", sa.String()),
        sa.Column("secret_sha256", sa.String(64), nullable=False),
        sa.Column("scopes", JSON, nullable=False),
        sa.Column("rate_limit", sa.String(64)),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("expires_at", MOMENT),
        sa.Column("used_at", MOMENT),
        sa.Column("replaced_by", sa.String(32)),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.tenant_id"], name="fk_api_keys_tenant_id_tenants", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("key_id", name="pk_api_keys"),
    )
    op.create_table(
        "feedback",
        sa.Column("decision", sa.String(64), nullable=False),
        sa.Column("tenant_id", sa.String(128), nullable=False),
        sa.Column("model_id", sa.String(128), nullable=False),
        sa.Column("speaker_key", KEY, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("same", sa.Boolean(), nullable=False),
        sa.Column("correct", sa.Boolean(), nullable=False),
        sa.Column("gallery_size", sa.Integer()),
        sa.Column("similarity", sa.Float(53)),
        sa.Column("enrolled_speech_s", sa.Float(53)),
        sa.Column("speech_s", sa.Float(53), nullable=False),
        sa.Column("decided_at", MOMENT, nullable=False),
        sa.Column("given_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["speaker_key"], ["speakers.key"], name="fk_feedback_speaker_key_speakers", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("decision", name="pk_feedback"),
    )
    op.create_index("ix_feedback_tenant_id_model_id", "feedback", ["tenant_id", "model_id"])
    op.create_table(
        "job_rows",
        sa.Column("job_id", sa.String(64), nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("speaker_id", sa.String(128)),
        sa.Column("outcome", sa.String(32), nullable=False),
        sa.Column("code", sa.String(64)),
        sa.Column("detail", sa.String()),
        sa.Column("enrollment_id", sa.String(64)),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.job_id"], name="fk_job_rows_job_id_jobs", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("job_id", "number", name="pk_job_rows"),
    )
    op.create_index("ix_job_rows_speaker_id", "job_rows", ["speaker_id"])
    op.create_table(
        "lockouts",
        sa.Column("speaker_key", KEY, autoincrement=False, nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("locked_until", MOMENT),
        sa.ForeignKeyConstraint(
            ["speaker_key"], ["speakers.key"], name="fk_lockouts_speaker_key_speakers", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("speaker_key", name="pk_lockouts"),
    )
    op.create_table(
        "recordings",
        sa.Column("speaker_key", KEY, nullable=False),
        sa.Column("audio_sha256", sa.String(64), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["speaker_key"], ["speakers.key"], name="fk_recordings_speaker_key_speakers", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("speaker_key", "audio_sha256", name="pk_recordings"),
    )
    op.create_index("ix_enrollments_audio_sha256", "enrollments", ["audio_sha256"])
    op.add_column("speakers", sa.Column("data_key", sa.LargeBinary()))
    op.add_column("speakers", sa.Column("retain_until", MOMENT))
    op.create_index("ix_speakers_retain_until", "speakers", ["retain_until"])
    tenants = sa.table(
        "tenants", sa.column("tenant_id"), sa.column("created_at", MOMENT), sa.column("policy", JSON)
    )
    now = datetime.now(UTC)
    op.bulk_insert(tenants, [{"tenant_id": "default", "policy": {}, "created_at": now.replace(tzinfo=None)}])
    _rewrite_embeddings(seal=True)


def downgrade() -> None:
    _rewrite_embeddings(seal=False)
    for table in TABLES:
        op.drop_table(table)
    op.drop_index("ix_enrollments_audio_sha256", "enrollments")
    op.drop_index("ix_speakers_retain_until", "speakers")
    op.drop_column("speakers", "retain_until")
    op.drop_column("speakers", "data_key")


def _rewrite_embeddings(*, seal: bool) -> None:
    """Seals or opens every stored embedding, speaker by speaker."""
    connection = op.get_bind()
    speakers = sa.table("speakers", sa.column("key", KEY), sa.column("data_key", sa.LargeBinary))
    keys = connection.scalars(sa.select(speakers.c.key)).all()
    if not keys:
        return
    vault = context.config.attributes.get("vault")
    if vault is None:
        raise RuntimeError("stored voices can be sealed or opened with the master key only: timbre migrate")
    for key in keys:
        mine = speakers.c.key == key
        if seal:
            wrapped = vault.new_data_key()
            connection.execute(speakers.update().where(mine).values(data_key=wrapped))
        else:
            wrapped = connection.scalar(sa.select(speakers.c.data_key).where(mine))
        _rewrite(connection, key, partial(vault.seal if seal else vault.open, wrapped))


def _rewrite(connection, key, turn) -> None:
    metadata = sa.MetaData()
    takes = sa.Table("enrollments", metadata, autoload_with=connection)
    centroids = sa.Table("centroids", metadata, autoload_with=connection)
    mine = takes.c.speaker_key == key
    rows = [dict(row) for row in connection.execute(sa.select(takes).where(mine)).mappings()]
    # Deleted and written again, because a trigger refuses every change of these rows.
    connection.execute(takes.delete().where(mine))
    for row in rows:
        row["embedding"] = turn(row["embedding"], f"enrollment {row['enrollment_id']}")
        connection.execute(takes.insert().values(row))
    living = (centroids.c.speaker_key == key) & centroids.c.embedding.is_not(None)
    for row in connection.execute(sa.select(centroids).where(living)).mappings().all():
        sealed = turn(row["embedding"], f"centroid {key} {row['model_id']}")
        this = (centroids.c.speaker_key == key) & (centroids.c.model_id == row["model_id"])
        connection.execute(centroids.update().where(this).values(embedding=sealed))
