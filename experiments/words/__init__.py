"""How the scores of a word's tokens become the word's: the figures of docs/words.md."""
