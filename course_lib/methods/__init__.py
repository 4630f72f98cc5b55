"""The mathematics: losses, fits and samplers; none knows a network."""
