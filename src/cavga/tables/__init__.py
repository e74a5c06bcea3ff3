"""The tables of the paper: reported figures, grids, records, and the files they are written to."""
