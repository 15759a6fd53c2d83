"""Explanations of generated text, from the states that generating computes anyway."""
