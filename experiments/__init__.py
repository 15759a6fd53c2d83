"""What was measured with normxlogit, and how to measure it again."""
