"""What was measured once to decide something; run as `python -m studies.NAME` from the repository root."""
