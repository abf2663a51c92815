"""The library under all programs: what is true about the VFs of a node, and how one is given and taken back."""
