"""A model on disk: load (folder or GGUF), save, attach and merge LoRA, perplexity, packed attention.

All of this room needs the extra `[train]` (torch, transformers, peft); nothing is imported before a function runs.
"""
