"""What a corpus says as a whole: its shards counted, and the words that lead."""
