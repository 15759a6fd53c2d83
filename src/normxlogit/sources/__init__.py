"""Which of the sources in a prompt an answer rests on."""
