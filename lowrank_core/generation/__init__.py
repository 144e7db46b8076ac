"""Text from one model or from two at once, token by token."""
