"""What a trained model is asked: evaluation, scores, next words, KenLM's interface."""
