"""Many processes of one job, its ranks: what one process does when it is alone, and what MPI does for several."""
