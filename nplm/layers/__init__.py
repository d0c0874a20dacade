"""The layers, each in a file of its own: equations, forward, and the backward in reverse order."""
