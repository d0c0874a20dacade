"""The formats and the arithmetic of SRILM, Kaldi and their kin."""
