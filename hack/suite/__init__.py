"""`hack/test`: every test, in lanes that run beside each other, with progress and one summary at the end."""
