"""Fixtures shared with other rooms."""

from support_serving import tiny_gguf

__all__ = ["tiny_gguf"]
