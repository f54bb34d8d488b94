"""Jobs, what they need, what happened in them, what they cost, and who did what."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Create the five tables."""
    op.create_table(
        "jobs",
        sa.Column("number", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("spec", sa.JSON(), nullable=False),
        sa.Column("spec_version", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("publish", sa.String(64)),
        sa.Column("recipe", sa.String(40)),
        sa.Column("state", sa.String(12), nullable=False),
        sa.Column("wanted", sa.String(8), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.Column("started", sa.Double()),
        sa.Column("ended", sa.Double()),
        sa.Column("not_before", sa.Double(), nullable=False),
        sa.Column("created_by", sa.String(40)),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("max_attempts", sa.Integer(), nullable=False),
        sa.Column("gpus", sa.Integer()),
        sa.Column("worker", sa.String(200)),
        sa.Column("claim", sa.String(32)),
        sa.Column("heartbeat", sa.Double()),
        sa.Column("folder", sa.Text(), nullable=False),
        sa.Column("error_code", sa.String(40)),
        sa.Column("error", sa.Text()),
        sa.Column("report", sa.JSON()),
        sa.Column("metadata", sa.JSON(), nullable=False),
        sa.Column("events", sa.Integer(), nullable=False),
        sa.Column("indexed", sa.JSON(), nullable=False),
        sa.Column("price", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_jobs"),
        sa.UniqueConstraint("id", name="uq_jobs_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_jobs_state_priority_number", "jobs", ["state", "priority", "number"])
    op.create_index("ix_jobs_kind_number", "jobs", ["kind", "number"])
    op.create_index("ix_jobs_created_by_number", "jobs", ["created_by", "number"])
    op.create_index("ix_jobs_recipe", "jobs", ["recipe"])
    op.create_table(
        "job_dependencies",
        sa.Column("job", sa.Integer(), nullable=False),
        sa.Column("needs", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["job"], ["jobs.number"], name="fk_job_dependencies_job", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["needs"], ["jobs.number"], name="fk_job_dependencies_needs", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job", "needs", name="pk_job_dependencies"),
    )
    op.create_index("ix_job_dependencies_needs", "job_dependencies", ["needs"])
    op.create_table(
        "job_events",
        sa.Column("job", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("time", sa.Double(), nullable=False),
        sa.Column("level", sa.String(5), nullable=False),
        sa.Column("type", sa.String(8), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("data", sa.JSON()),
        sa.ForeignKeyConstraint(["job"], ["jobs.number"], name="fk_job_events_job", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job", "number", name="pk_job_events"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "job_costs",
        sa.Column("job", sa.Integer(), nullable=False),
        sa.Column("month", sa.String(7), nullable=False),
        sa.Column("gpu_seconds", sa.Double(), nullable=False),
        sa.Column("dollars", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["job"], ["jobs.number"], name="fk_job_costs_job", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job", "month", name="pk_job_costs"),
    )
    op.create_index("ix_job_costs_month", "job_costs", ["month"])
    op.create_table(
        "audit",
        sa.Column("number", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("time", sa.Double(), nullable=False),
        sa.Column("actor", sa.String(200), nullable=False),
        sa.Column("action", sa.String(40), nullable=False),
        sa.Column("target", sa.String(300), nullable=False),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_audit"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_audit_target_number", "audit", ["target", "number"])


def downgrade() -> None:
    """Drop them."""
    for table in ("audit", "job_costs", "job_events", "job_dependencies", "jobs"):
        op.drop_table(table)
