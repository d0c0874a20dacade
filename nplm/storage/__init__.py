"""One file holds a model, or a model with the state of its run."""
