"""BLiMP's pairs on number agreement: experiment 2 of Abbasi et al. 2025.

In each pair of sentences one word, the cue, settles which sentence is grammatical; rules find it.
The layers of a language model are read in several ways, and each way is compared with the cue.
"""
