select state, changes, finished_at from finished_run
