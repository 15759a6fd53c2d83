"""Texts that pictures of the documentation show."""

COMPLAINT = "My claim was rejected; the staff were wonderful but the food was terrible."
