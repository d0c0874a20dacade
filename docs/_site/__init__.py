"""What the site needs beyond Sphinx: pages of the source, labels that lead to lines, MathML, pictures in both themes."""
