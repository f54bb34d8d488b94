"""Rows to training samples: formats, splits, rendering with loss masks, packing. No torch in this room.

A training row walks: file -> checked sample (`formats`) -> token ids + mask (`render`) -> packed row (`packing`).
"""
