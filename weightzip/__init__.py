"""weightzip: a neural codec for the weights of neural networks."""
