"""Whether the tests notice a change of a check: `python -m tools.mutation`."""
