"""What all tables share: their metadata, and the revision that this version of the package reads and writes."""

import sqlalchemy as sa

# Names for constraints, so that a migration can drop one on any database.
METADATA = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)
# The newest file in `migrations/versions`. Spelled out, so that opening an up-to-date database needs no Alembic.
HEAD = "0006"
