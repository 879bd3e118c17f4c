"""Language modelling: text that is always at hand, and the loss on it."""
