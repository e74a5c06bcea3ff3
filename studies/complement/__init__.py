"""Attention trained with its complement: what it adds to the energy of a prior, and what stands in its place."""
