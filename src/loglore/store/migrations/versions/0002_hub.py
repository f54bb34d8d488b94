"""The hub: objects, versions of datasets and models, tags, scores, connections, files and uploads."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create the tables."""
    _objects_and_versions()
    _what_points_at_versions()
    _connections()
    _files()
    _uses()


def _objects_and_versions() -> None:
    op.create_table(
        "objects",
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name="pk_objects"),
    )
    op.create_table(
        "object_holds",
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("holder", sa.String(40), nullable=False),
        sa.Column("until", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["sha256"], ["objects.sha256"], name="fk_object_holds_sha256"),
        sa.PrimaryKeyConstraint("sha256", "holder", name="pk_object_holds"),
    )
    op.create_index("ix_object_holds_holder", "object_holds", ["holder"])
    op.create_table(
        "names",
        sa.Column("kind", sa.String(10), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("last_number", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "name", name="pk_names"),
    )
    op.create_table(
        "versions",
        sa.Column("id", sa.String(20), nullable=False),
        sa.Column("kind", sa.String(10), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("facts", sa.JSON(), nullable=False),
        sa.Column("card", sa.Text(), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.Column("created_by", sa.String(40)),
        sa.PrimaryKeyConstraint("id", name="pk_versions"),
        sa.UniqueConstraint("kind", "name", "number", name="uq_versions_kind"),
        sa.UniqueConstraint("kind", "name", "digest", name="uq_versions_digest"),
    )
    op.create_index("ix_versions_kind_ordinal", "versions", ["kind", "ordinal"])
    op.create_table(
        "version_files",
        sa.Column("version_id", sa.String(20), nullable=False),
        sa.Column("path", sa.String(1000), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["version_id"], ["versions.id"], name="fk_version_files_version_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["sha256"], ["objects.sha256"], name="fk_version_files_sha256"),
        sa.PrimaryKeyConstraint("version_id", "path", name="pk_version_files"),
    )
    op.create_index("ix_version_files_sha256", "version_files", ["sha256"])


def _what_points_at_versions() -> None:
    op.create_table(
        "version_parents",
        sa.Column("child_id", sa.String(20), nullable=False),
        sa.Column("parent_id", sa.String(20), nullable=False),
        sa.ForeignKeyConstraint(["child_id"], ["versions.id"], name="fk_version_parents_child_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["parent_id"], ["versions.id"], name="fk_version_parents_parent_id"),
        sa.PrimaryKeyConstraint("child_id", "parent_id", name="pk_version_parents"),
    )
    op.create_index("ix_version_parents_parent_id", "version_parents", ["parent_id"])
    op.create_table(
        "tags",
        sa.Column("kind", sa.String(10), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("tag", sa.String(64), nullable=False),
        sa.Column("version_id", sa.String(20), nullable=False),
        sa.Column("updated", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["version_id"], ["versions.id"], name="fk_tags_version_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("kind", "name", "tag", name="pk_tags"),
    )
    op.create_table(
        "scores",
        sa.Column("id", sa.String(20), nullable=False),
        sa.Column("version_id", sa.String(20), nullable=False),
        sa.Column("suite", sa.String(300), nullable=False),
        sa.Column("dataset_id", sa.String(20)),
        sa.Column("metrics", sa.JSON(), nullable=False),
        sa.Column("job_id", sa.String(60)),
        sa.Column("created", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["version_id"], ["versions.id"], name="fk_scores_version_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["dataset_id"], ["versions.id"], name="fk_scores_dataset_id", ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id", name="pk_scores"),
    )
    op.create_index("ix_scores_version_id_created", "scores", ["version_id", "created"])


def _connections() -> None:
    op.create_table(
        "connections",
        sa.Column("id", sa.String(20), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("endpoint", sa.String(500)),
        sa.Column("region", sa.String(60)),
        sa.Column("bucket", sa.String(255), nullable=False),
        sa.Column("key_id", sa.String(200), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.Column("created_by", sa.String(40)),
        sa.PrimaryKeyConstraint("id", name="pk_connections"),
        sa.UniqueConstraint("name", name="uq_connections_name"),
    )
    op.create_table(
        "connection_secrets",
        sa.Column("connection_id", sa.String(20), nullable=False),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["connection_id"], ["connections.id"], name="fk_connection_secrets_connection_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("connection_id", name="pk_connection_secrets"),
    )


def _files() -> None:
    op.create_table(
        "stored_files",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("purpose", sa.String(30), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.Column("expires", sa.Double()),
        sa.Column("created_by", sa.String(40)),
        sa.ForeignKeyConstraint(["sha256"], ["objects.sha256"], name="fk_stored_files_sha256"),
        sa.PrimaryKeyConstraint("id", name="pk_stored_files"),
    )
    op.create_index("ix_stored_files_sha256", "stored_files", ["sha256"])
    op.create_index("ix_stored_files_created_id", "stored_files", ["created", "id"])
    op.create_table(
        "uploads",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("purpose", sa.String(30), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("mime_type", sa.String(200), nullable=False),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.Column("expires", sa.Double(), nullable=False),
        sa.Column("file_expires_after", sa.Double()),
        sa.Column("file_id", sa.String(40)),
        sa.Column("created_by", sa.String(40)),
        sa.ForeignKeyConstraint(["file_id"], ["stored_files.id"], name="fk_uploads_file_id", ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id", name="pk_uploads"),
    )
    op.create_table(
        "upload_parts",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("upload_id", sa.String(40), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["upload_id"], ["uploads.id"], name="fk_upload_parts_upload_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["sha256"], ["objects.sha256"], name="fk_upload_parts_sha256"),
        sa.PrimaryKeyConstraint("id", name="pk_upload_parts"),
    )
    op.create_index("ix_upload_parts_upload_id", "upload_parts", ["upload_id"])
    op.create_index("ix_upload_parts_sha256", "upload_parts", ["sha256"])


def _uses() -> None:
    op.create_table(
        "uses",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("holder", sa.String(60), nullable=False),
        sa.Column("version_id", sa.String(20)),
        sa.Column("file_id", sa.String(40)),
        sa.ForeignKeyConstraint(["version_id"], ["versions.id"], name="fk_uses_version_id"),
        sa.ForeignKeyConstraint(["file_id"], ["stored_files.id"], name="fk_uses_file_id"),
        sa.PrimaryKeyConstraint("id", name="pk_uses"),
    )
    op.create_index("ix_uses_holder", "uses", ["holder"])
    op.create_index("ix_uses_version_id", "uses", ["version_id"])
    op.create_index("ix_uses_file_id", "uses", ["file_id"])


def downgrade() -> None:
    """Drop them."""
    for table in (
        "uses",
        "upload_parts",
        "uploads",
        "stored_files",
        "connection_secrets",
        "connections",
        "scores",
        "tags",
        "version_parents",
        "version_files",
        "versions",
        "names",
        "object_holds",
        "objects",
    ):
        op.drop_table(table)
