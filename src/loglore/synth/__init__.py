"""Logs to training samples: `chat` writes conversations about chunks, `nlplog` question-and-answer text about events.

    prompts (tasks as text files) ─┐
    material (chunk or digest) ────┴─ writers ─┬─ analyst ──┐
                                               └─ endpoints ┴─ gate, strict ── clean ── rows

A teacher is `analyst`, a rule-based writer (free, fast, repeatable, states nothing that it did not compute), or any
OpenAI-compatible endpoint, which writes better prose, finds more causes and costs money. What either writes passes the
same gate; what an endpoint answered is kept and never paid for twice.
"""
