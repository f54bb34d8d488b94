"""Scores: what a test job found out about a version, recorded later and pointing at it."""

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from loglore.errors import InputError
from loglore.store.database import Database
from loglore.store.schema import METADATA
from loglore.store.versions import VERSIONS

SCORES = sa.Table(
    "scores",
    METADATA,
    sa.Column("id", sa.String(20), primary_key=True),
    sa.Column("version_id", sa.ForeignKey(VERSIONS.c.id, ondelete="CASCADE"), nullable=False),
    sa.Column("suite", sa.String(300), nullable=False),
    sa.Column("dataset_id", sa.ForeignKey(VERSIONS.c.id, ondelete="SET NULL")),
    sa.Column("metrics", sa.JSON, nullable=False),
    sa.Column("job_id", sa.String(60)),
    sa.Column("created", sa.Double, nullable=False),
    sa.Index("ix_scores_version_id_created", "version_id", "created"),
)


@dataclass(frozen=True)
class Score:
    """One evaluation of a version.

    Attributes:
        id: `score_…`.
        version_id: what was tested.
        suite: on what, as people call it: `logs-test@2`, a harness task.
        dataset_id: the dataset's version, None when it was none of the hub's or is gone.
        metrics: by name, as the test job reports them (means with intervals).
        job_id: the job that found out.
        created: seconds since 1970.
    """

    id: str
    version_id: str
    suite: str
    dataset_id: str | None
    metrics: Mapping[str, Any]
    job_id: str | None
    created: float


def add(
    database: Database,
    version_id: str,
    suite: str,
    metrics: Mapping[str, Any],
    dataset_id: str | None = None,
    job_id: str | None = None,
) -> Score:
    """Record an evaluation; arguments as the attributes of `Score`.

    Raises:
        InputError: no such version or dataset.
    """
    score = Score(f"score_{secrets.token_hex(6)}", version_id, suite, dataset_id, dict(metrics), job_id, time.time())
    try:
        with database.begin() as connection:
            connection.execute(SCORES.insert().values(vars(score)))
    except sa.exc.IntegrityError:
        raise InputError(f"score on {suite}: version {version_id} or dataset {dataset_id} is not there") from None
    return score


def scores(database: Database, version_id: str) -> list[Score]:
    """Evaluations of a version, the oldest first."""
    query = SCORES.select().where(SCORES.c.version_id == version_id).order_by(SCORES.c.created, SCORES.c.id)
    with database.begin() as connection:
        return [Score(**row) for row in connection.execute(query).mappings()]
