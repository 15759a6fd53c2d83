"""An exported graph run on texts, without torch and transformers."""
