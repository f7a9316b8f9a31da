select state, changes, finished_at, warnings from finished_run
