"""An LSTM language model for the CPU, trained with noise-contrastive estimation."""
