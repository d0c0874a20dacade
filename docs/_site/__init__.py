"""What the site needs beyond Sphinx: source pages, labels that lead to lines, MathML, pictures in both themes."""
