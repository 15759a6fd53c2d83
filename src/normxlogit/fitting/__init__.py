"""An attribution head fitted to a model: outcomes of hidden words, training, and how good it is."""
