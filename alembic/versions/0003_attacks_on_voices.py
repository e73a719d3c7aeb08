"""Fingerprints of what was enrolled and heard, challenges.

Revision 0003, after 0002. Enrollments from before it have no fingerprint: a copy of theirs is not noticed.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column("enrollments", sa.Column("fingerprint", sa.LargeBinary()))
    op.create_table(
        "heard_clips",
        sa.Column("key", KEY, nullable=False),
        sa.Column("speaker_key", KEY, nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("heard_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_heard_clips"),
        sa.ForeignKeyConstraint(
            ["speaker_key"], ["speakers.key"], name="fk_heard_clips_speaker_key_speakers", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_heard_clips_speaker_key", "heard_clips", ["speaker_key"])
    op.create_table(
        "challenges",
        sa.Column("challenge_id", sa.String(64), nullable=False),
        sa.Column("tenant_id", sa.String(128), nullable=False),
        sa.Column("speaker_key", KEY, nullable=False),
        sa.Column("digits", sa.String(32), nullable=False),
        sa.Column("expires_at", MOMENT, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("spent_at", MOMENT),
        sa.PrimaryKeyConstraint("challenge_id", name="pk_challenges"),
        sa.ForeignKeyConstraint(
            ["speaker_key"], ["speakers.key"], name="fk_challenges_speaker_key_speakers", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_challenges_speaker_key", "challenges", ["speaker_key"])
    op.create_index("ix_challenges_expires_at", "challenges", ["expires_at"])


def downgrade() -> None:
    op.drop_table("challenges")
    op.drop_table("heard_clips")
    op.drop_column("enrollments", "fingerprint")
