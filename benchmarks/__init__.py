"""What is measured again at each release; run as `python -m benchmarks.NAME` from the repository root."""
