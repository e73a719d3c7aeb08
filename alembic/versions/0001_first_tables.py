"""First tables: speakers, enrollments, centroids, galleries.

Revision 0001, after nothing.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "speakers",
        sa.Column("key", KEY, primary_key=True),
        sa.Column("tenant_id", sa.String(128), nullable=False),
        sa.Column("speaker_id", sa.String(128), nullable=False),
        sa.Column("display_name", sa.String()),
        sa.Column("metadata", JSON, nullable=False),
        sa.Column("consent", JSON),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_speakers"),
        sa.UniqueConstraint("tenant_id", "speaker_id", name="uq_speakers_tenant_id_speaker_id"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "enrollments",
        sa.Column("enrollment_id", sa.String(64), nullable=False),
        sa.Column("speaker_key", KEY, nullable=False),
        sa.Column("model_id", sa.String(128), nullable=False),
        sa.Column("embedding", sa.LargeBinary(), nullable=False),
        sa.Column("speech_s", sa.Float(53), nullable=False),
        sa.Column("duration_s", sa.Float(53), nullable=False),
        sa.Column("quality", sa.Float(53), nullable=False),
        sa.Column("audio", JSON, nullable=False),
        sa.Column("audio_sha256", sa.String(64), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("enrollment_id", name="pk_enrollments"),
        sa.ForeignKeyConstraint(
            ["speaker_key"],
            ["speakers.key"],
            name="fk_enrollments_speaker_key_speakers",
            ondelete="CASCADE",
        ),
        sa.UniqueConstraint(
            "speaker_key",
            "model_id",
            "audio_sha256",
            name="uq_enrollments_speaker_key_model_id_audio_sha256",
        ),
    )
    op.create_table(
        "centroids",
        sa.Column("speaker_key", KEY, autoincrement=False, nullable=False),
        sa.Column("model_id", sa.String(128), nullable=False),
        sa.Column("tenant_id", sa.String(128), nullable=False),
        sa.Column("embedding", sa.LargeBinary()),
        sa.Column("speech_s", sa.Float(53), nullable=False),
        sa.Column("enrollments_count", sa.Integer(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("speaker_key", "model_id", name="pk_centroids"),
    )
    op.create_index(
        "ix_centroids_tenant_id_model_id_version", "centroids", ["tenant_id", "model_id", "version"]
    )
    op.create_table(
        "galleries",
        sa.Column("tenant_id", sa.String(128), nullable=False),
        sa.Column("model_id", sa.String(128), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "model_id", name="pk_galleries"),
    )
    _make_enrollments_immutable()


def _make_enrollments_immutable() -> None:
    if op.get_bind().dialect.name == "sqlite":
        op.execute(
            "CREATE TRIGGER enrollments_immutable BEFORE UPDATE ON enrollments "
            "BEGIN SELECT RAISE(ABORT, 'enrollments are immutable'); END"
        )
        return
    op.execute(
        "CREATE FUNCTION enrollments_immutable() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE integrity_constraint_violation USING MESSAGE = 'enrollments are immutable'; END $$"
    )
    op.execute(
        "CREATE TRIGGER enrollments_immutable BEFORE UPDATE ON enrollments "
        "FOR EACH ROW EXECUTE FUNCTION enrollments_immutable()"
    )


def downgrade() -> None:
    op.drop_table("galleries")
    op.drop_table("centroids")
    op.drop_table("enrollments")  # its trigger goes with it
    op.drop_table("speakers")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION enrollments_immutable()")
