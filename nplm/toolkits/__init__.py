"""The formats and the arithmetic of SRILM, Kaldi and similar toolkits."""
