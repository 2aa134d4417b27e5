"""How many labels a set has, which lists say without reading the labels."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Make the column, and count."""
    op.add_column("label_sets", sa.Column("num_labels", sa.Integer, nullable=False, server_default="0"))
    connection = op.get_bind()
    for id_ in connection.execute(sa.text("SELECT id FROM label_sets")).scalars().all():
        # One by one: a thousand sets of a megabyte would not fit into memory.
        query = sa.text("SELECT content FROM label_sets WHERE id = :id")
        content = json.loads(connection.execute(query, {"id": id_}).scalar_one())
        connection.execute(
            sa.text("UPDATE label_sets SET num_labels = :number WHERE id = :id"),
            {"id": id_, "number": len(content["labels"])},
        )


def downgrade() -> None:
    """Drop it."""
    op.drop_column("label_sets", "num_labels")
