"""LogLore teaches a language model the lore of your logs and answers what went wrong, with evidence.

The rooms of the house, and which may import which, are described in CONTRIBUTING.md.
"""

__version__ = "0.1.0"
