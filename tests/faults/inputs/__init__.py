"""What comes in: samples, names, models and configurations."""
