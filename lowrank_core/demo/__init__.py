"""The bundled model: the world it knows, its tokenizer, its training, its texts and its study."""
