"""Ray Data over shards, as all pipelines here use it: results in the order of the shards, memory bounded.

Shards travel as names (a file and where in it), results in blocks of `BLOCK` bytes, and at most `UNDER_WAY` bytes of
them wait in the object store: Ray Data starts no shard whose results would not fit. What is larger than that (rows to
tokenize, hashes of held-out files, answers of a teacher) lies in files on the shared storage.
"""

import logging

UNDER_WAY = 128 << 20  # bytes in the object store
BLOCK = 4 << 20  # bytes


def bound() -> None:
    """Set Ray Data so in this process, before a pipeline is made."""
    import ray

    data = ray.data.DataContext.get_current()
    data.execution_options.preserve_order = True
    data.execution_options.resource_limits = ray.data.ExecutionResources(object_store_memory=UNDER_WAY)
    data.target_max_block_size = BLOCK
    data.enable_progress_bars = False
    # Its lines about plans and stages are not for who waits for the job.
    logging.getLogger("ray.data").setLevel(logging.ERROR)
