"""Do generator, vendors and mesh tell the same story? Answered from Prometheus alone."""
