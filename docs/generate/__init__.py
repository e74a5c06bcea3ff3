"""Writes the pages that hold measured figures; run as `python -m docs.generate.NAME` from the repository root."""
