"""One factor at a time on frozen features (decisions 0020 and 0021): `python -m studies.factors.study`."""
