"""Secrets of connections are sealed with a key outside the database; costs of endpoints and of deleted jobs; more.

Parts of an upload are counted, since clocks go back.
"""

from collections.abc import Callable

import sqlalchemy as sa
from alembic import op

from loglore.store import sealing

revision = "0005"
down_revision = "0004"
TABLE = "connection_secrets"


def upgrade() -> None:
    """Seal what stood in clear; add two columns and a table."""
    _rewritten("secret", "sealed", sealing.seal)
    paid: sa.Column[float] = sa.Column("endpoint_dollars", sa.Double(), nullable=False, server_default="0")
    op.add_column("job_costs", paid)
    number: sa.Column[int] = sa.Column("number", sa.Integer(), nullable=False, server_default="0")
    op.add_column("upload_parts", number)
    op.create_table(
        "past_costs",
        sa.Column("number", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("month", sa.String(7), nullable=False),
        sa.Column("created_by", sa.String(40)),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("gpu_seconds", sa.Double(), nullable=False),
        sa.Column("dollars", sa.Double(), nullable=False),
        sa.Column("endpoint_dollars", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_past_costs"),
    )
    op.create_index("ix_past_costs_month", "past_costs", ["month"])


def downgrade() -> None:
    """Back to clear text, which needs the key where there are secrets."""
    op.drop_table("past_costs")
    op.drop_column("upload_parts", "number")
    op.drop_column("job_costs", "endpoint_dollars")
    _rewritten("sealed", "secret", sealing.opened)


def _rewritten(before: str, after: str, convert: Callable[[str], str]) -> None:
    """The table anew, with every value converted; a key is made where secrets need one and there is none."""
    connection = op.get_bind()
    if connection.dialect.name == "sqlite":
        # What is dropped is overwritten in the file.
        connection.exec_driver_sql("PRAGMA secure_delete = ON")
    found = connection.execute(sa.text(f"select connection_id, {before} from {TABLE}")).all()
    rows: list[dict[str, str]] = [{"connection_id": connection_id, after: value} for connection_id, value in found]
    if rows and after == "sealed":
        sealing.make_key()
    op.drop_table(TABLE)
    table = op.create_table(
        TABLE,
        sa.Column("connection_id", sa.String(20), nullable=False),
        sa.Column(after, sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["connection_id"], ["connections.id"], name=f"fk_{TABLE}_connection_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("connection_id", name=f"pk_{TABLE}"),
    )
    for row in rows:
        connection.execute(table.insert().values({**row, after: convert(row[after])}))
