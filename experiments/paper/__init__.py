"""The experiments of Abbasi et al. 2025, on models and data that need no network."""
