"""Interventions: what is taken away from an image, which targets are tried, and what the answers say."""
