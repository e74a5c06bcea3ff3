"""The figures of the paper, drawn from our own runs: one module a figure, and what they share."""
