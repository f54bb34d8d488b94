"""Fixtures shared with other rooms."""

from support_serving import tiny_gguf
from support_studio import served

__all__ = ["served", "tiny_gguf"]
