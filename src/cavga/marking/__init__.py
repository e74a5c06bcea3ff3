"""Marked photographs: what a person called bad or good, and models that are fitted to it."""
