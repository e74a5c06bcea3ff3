"""Which reading of the paper's text trains, and does its attention find anything: see `studies.readings.study`."""
