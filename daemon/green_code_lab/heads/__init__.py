"""What is trained beside a frozen model: tuned lenses, KV projections and the SVD head."""
