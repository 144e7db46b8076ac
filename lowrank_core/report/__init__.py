"""What is written for people to keep: tables, reports, transcripts (no torch here)."""
