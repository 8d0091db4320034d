"""Where a run lives: mesh, placement of arrays, processes, cost."""
