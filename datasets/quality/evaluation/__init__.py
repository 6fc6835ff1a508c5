"""How well artefacts are found: two independent ways to lay them over real fields, and what is counted."""
