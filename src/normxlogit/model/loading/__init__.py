"""Models by name: what can be told without torch, and how they are loaded."""
