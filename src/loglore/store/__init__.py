"""The database, the one owner of tables: SQLite (WAL) below the data folder, or PostgreSQL by URL. And object storage.

One file a group of tables, with the functions that read and write them: `keys`, `sessions`, `completions`; of the hub
`objects`, `versions`, `scores`, `connections`, `files`, `uses`. `storage` is where the objects' bytes are. A further
group is a further file that adds its tables to `schema.METADATA`, and one more file in `migrations/versions`.
Functions take the open `Database` first and return plain frozen dataclasses; times are seconds since 1970, UTC.
"""
