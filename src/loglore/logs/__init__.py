"""Raw text to facts, without a language model: lines, times, levels, events, templates, chunks, evidence, grounding.

Imports nothing of LogLore but `errors`, and no torch. A log line's way: `reader` (numbered row of the log table) →
`templates` (what kind of message it is) → `evidence` (what a model is shown) → `grounding` (what it may say).
"""
