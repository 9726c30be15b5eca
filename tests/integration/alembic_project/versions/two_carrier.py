"""Parcels have a carrier; each order so far has one parcel."""

import sqlalchemy as sa
from alembic import op

revision = "9c3d"
down_revision = "7a1b"


def upgrade() -> None:
    op.add_column("parcels", sa.Column("carrier", sa.Text, server_default="post"))
    op.execute("INSERT INTO parcels (id, order_id) SELECT id, id FROM orders")
    op.execute("UPDATE parcels SET carrier = 'courier' WHERE order_id = 2")
    op.alter_column("parcels", "carrier", nullable=False)


def downgrade() -> None:
    op.drop_column("parcels", "carrier")
