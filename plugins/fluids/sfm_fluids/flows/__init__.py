"""What flows start from and what drives them, and the flows of the bundled sets."""
