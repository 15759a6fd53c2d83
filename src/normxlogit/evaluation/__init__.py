"""How far attribution methods are to be trusted, for a model and its data.

Texts are ranked by each method, hidden part by part, and read by the model again. Faithfulness, to
what the model does, and plausibility, to what people or a grammar say, are kept apart.
"""
