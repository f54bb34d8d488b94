"""Alembic's entry: runs the revisions on the connection that `database` hands over."""

from alembic import context

from loglore.store import (
    asked,
    audit,
    chats,
    completions,
    connections,
    costs,
    evals,
    events,
    files,
    idempotency,
    jobs,
    keys,
    objects,
    scores,
    sessions,
    uses,
    versions,
)
from loglore.store.schema import METADATA

# Imported for their tables.
GROUPS = (
    asked, audit, chats, completions, connections, costs, evals, events, files, idempotency, jobs, keys, objects,
    scores, sessions, uses, versions,
)  # fmt: skip

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
