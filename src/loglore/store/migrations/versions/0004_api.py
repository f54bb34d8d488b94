"""What the API keeps: evals and their runs, the requests that made jobs, answers under idempotency keys."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Create the four tables."""
    op.create_table(
        "evals",
        sa.Column("number", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("config", sa.JSON(), nullable=False),
        sa.Column("criteria", sa.JSON(), nullable=False),
        sa.Column("metadata", sa.JSON(), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.Column("updated", sa.Double(), nullable=False),
        sa.Column("created_by", sa.String(40)),
        sa.PrimaryKeyConstraint("number", name="pk_evals"),
        sa.UniqueConstraint("id", name="uq_evals_id"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "eval_runs",
        sa.Column("number", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("eval_id", sa.String(40), nullable=False),
        sa.Column("job_id", sa.String(40), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("model", sa.String(300), nullable=False),
        sa.Column("source", sa.JSON(), nullable=False),
        sa.Column("metadata", sa.JSON(), nullable=False),
        sa.Column("results", sa.JSON()),
        sa.Column("created", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_eval_runs"),
        sa.UniqueConstraint("id", name="uq_eval_runs_id"),
        sa.ForeignKeyConstraint(["eval_id"], ["evals.id"], name="fk_eval_runs_eval_id", ondelete="CASCADE"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_eval_runs_eval_id_number", "eval_runs", ["eval_id", "number"])
    op.create_table(
        "job_requests",
        sa.Column("job_id", sa.String(40), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("job_id", name="pk_job_requests"),
    )
    op.create_table(
        "idempotency",
        sa.Column("caller", sa.String(40), nullable=False),
        sa.Column("key", sa.String(255), nullable=False),
        sa.Column("request", sa.String(64), nullable=False),
        sa.Column("reserved", sa.String(24), nullable=False),
        sa.Column("status", sa.Integer()),
        sa.Column("answer", sa.Text()),
        sa.Column("created", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("caller", "key", name="pk_idempotency"),
    )
    op.create_index("ix_idempotency_created", "idempotency", ["created"])


def downgrade() -> None:
    """Drop them."""
    for table in ("idempotency", "job_requests", "eval_runs", "evals"):
        op.drop_table(table)
