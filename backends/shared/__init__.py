"""What several backends use: results in the run directory, credentials for workers, ids."""
