"""Jobs on a Ray cluster: the same functions, called there. Placing, queueing and starting again are Ray's, not ours.

    here                                              on the cluster
    submission ── order, pulse, wish to stop ──────>  driver ──┬── the job's function, in the driver's process
        ^   └── Ray Jobs: submit, state, stop              │   ├── training: Ray Train, one worker a GPU (or node)
        │                                                  │   └── everywhere: Ray Data, over shards, on all nodes
        └────── log, events, metrics, result ─── run folder, on a path that all see, or handed on by a bucket

`connection` finds the cluster and what it has, `wanted` says what a job wants of it, `order` is what both sides read,
`places` and `mirrored` are where the run folder is, `pulse` is the sign of life between the sides, `nodes` asks every
node, `training` is Ray Train (`network`: where its workers listen, `parts`: what each hands on of a checkpoint),
`checking`, `packing`, `writing` (the analyst) and `asking` (teachers behind endpoints) are Ray Data, `executor` is for
the queue's worker, `serving` places engines of sessions (`replica` is such a process there), `check` (with `look`
there) is `loglore cluster check`, `scale` computes what more machines would take.
"""
