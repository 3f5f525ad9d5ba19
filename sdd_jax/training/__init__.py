"""Fine-tuning: losses, the optimiser, one step."""
