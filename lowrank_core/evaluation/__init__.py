"""How good a model is: perplexity of a text, and what each site costs when it alone is cut."""
