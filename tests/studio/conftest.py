"""Fixtures shared with other rooms."""

from support_serving import tiny_gguf
from support_studio import served
from support_workshop import workshop

__all__ = ["served", "tiny_gguf", "workshop"]
