"""Networks: one paper, one file, leaf to root. They know no loss and no sampler."""
