insert or replace into feature_states (view, state_hash, changed_time, refreshed_time)
values ($view, $state_hash, $state_time, $known_time)
