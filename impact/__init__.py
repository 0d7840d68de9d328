"""What an edit of a stack file does to what runs, in words: `make impact BASE=main STACK=prod`."""
