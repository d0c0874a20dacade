"""The layers, one per file: equations, forward pass, and backward pass in reverse order."""
