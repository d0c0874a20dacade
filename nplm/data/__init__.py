"""From text to the chunks that are trained on."""
