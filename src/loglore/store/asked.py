"""What callers of the API asked for when they made a job: its answers show the request again, in its own words."""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from loglore.store.database import Database
from loglore.store.schema import METADATA

# Written before its job, whose id is chosen by then; hence no foreign key.
ASKED = sa.Table(
    "job_requests",
    METADATA,
    sa.Column("job_id", sa.String(40), primary_key=True),
    sa.Column("body", sa.JSON, nullable=False),
)


def keep(database: Database, job_id: str, body: Mapping[str, Any]) -> None:
    """Keep the request that makes a job; one kept before is replaced."""
    with database.begin() as connection:
        connection.execute(ASKED.delete().where(ASKED.c.job_id == job_id))
        connection.execute(ASKED.insert().values(job_id=job_id, body=dict(body)))


def of(database: Database, job_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Requests by job id; a job that was not made through the API has none."""
    query = ASKED.select().where(ASKED.c.job_id.in_(list(job_ids)))
    with database.begin() as connection:
        return {row.job_id: dict(row.body) for row in connection.execute(query)}
