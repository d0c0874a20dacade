"""The package held to its reference, and the gradient checker as a pytest fixture."""
