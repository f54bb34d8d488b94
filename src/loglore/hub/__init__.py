"""The local hub: named models in immutable versions, as plain folders."""
