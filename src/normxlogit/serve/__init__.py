"""Explanations over HTTP: models in one process, behind an application of FastAPI."""
