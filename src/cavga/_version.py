"""_version: cut out of _version."""

__version__ = "0.1.0"
