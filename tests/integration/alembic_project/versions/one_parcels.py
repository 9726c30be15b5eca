"""Orders have parcels."""

import sqlalchemy as sa
from alembic import op

revision = "7a1b"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "parcels",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("order_id", sa.Integer, sa.ForeignKey("orders.id"), nullable=False),
        sa.Column("weight", sa.Numeric),
    )
    op.create_index("parcels_order", "parcels", ["order_id"])


def downgrade() -> None:
    op.drop_table("parcels")
