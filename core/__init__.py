"""What every room shares and what travels to a worker; imports no other room."""
