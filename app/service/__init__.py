"""The use cases: what the service does with a voice, whoever asks for it. One file for each."""
