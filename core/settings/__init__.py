"""How settings are declared and where their values come from."""
