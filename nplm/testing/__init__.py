"""The package checked against its reference, and the gradient checker as a pytest fixture."""
