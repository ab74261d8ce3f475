"""Coverage-guided fuzzing with atheris, beside the hypothesis tests of tests/fuzz: `make fuzz SECONDS=600`."""
