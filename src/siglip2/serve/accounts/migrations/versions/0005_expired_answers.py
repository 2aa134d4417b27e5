"""Answers whose time is over are found by it."""

from alembic import op

revision = "0005"
down_revision = "0004"

_NAME = "ix_answers_expires_at"


def upgrade() -> None:
    """Make the index."""
    op.create_index(_NAME, "answers", ["expires_at"])


def downgrade() -> None:
    """Drop it."""
    op.drop_index(_NAME, "answers")
