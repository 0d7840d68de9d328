"""What a month will probably bring, and whether budgets last."""
