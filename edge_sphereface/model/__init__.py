"""What a model file says about itself: its specification, proof, quantization and tuning."""
