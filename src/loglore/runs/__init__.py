"""The run folder: what every stage writes through, so that a killed job goes on where it stopped.

    spec.json      what was asked            events.jsonl   what happened, when
    metrics.jsonl  numbers by step           system.jsonl   CPU, memory, disk while it ran
    report.json    the result, written last: a folder without it is unfinished

`files` writes whole files and folders atomically, `folder` is the `RunFolder` handed to every job as its context,
`fingerprint` says whether inputs are still the same, `progress` shows rate and ETA, `spec` parses job specs.
"""
