"""What runs in the processes of programs and of their tests; the standard library alone, and no torch."""
