"""Commands of the shell as policy judges them: what a text would run, or that this cannot be told."""
