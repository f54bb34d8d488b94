"""Chats about logs: what was asked, of whom, and what came."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Create both tables."""
    op.create_table(
        "chats",
        sa.Column("number", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("logs", sa.JSON(), nullable=False),
        sa.Column("title", sa.String(200), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.Column("changed", sa.Double(), nullable=False),
        sa.Column("created_by", sa.String(40)),
        sa.PrimaryKeyConstraint("number", name="pk_chats"),
        sa.UniqueConstraint("id", name="uq_chats_id"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "chat_turns",
        sa.Column("chat_id", sa.String(40), nullable=False),
        sa.Column("turn", sa.Integer(), nullable=False),
        sa.Column("side", sa.Integer(), nullable=False),
        sa.Column("question", sa.Text(), nullable=False),
        sa.Column("model", sa.String(800), nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("answer", sa.JSON()),
        sa.Column("fault", sa.Text()),
        sa.Column("created", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("chat_id", "turn", "side", name="pk_chat_turns"),
        sa.ForeignKeyConstraint(["chat_id"], ["chats.id"], name="fk_chat_turns_chat_id", ondelete="CASCADE"),
    )


def downgrade() -> None:
    """Drop them."""
    op.drop_table("chat_turns")
    op.drop_table("chats")
