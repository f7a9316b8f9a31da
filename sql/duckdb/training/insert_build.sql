insert into training_set_builds
    (hash, space_id, seed, feature_views, features, left_out, unembedded, reason)
values (
    nullif($hash, ''), $space_id, $seed, map($views, $fingerprints), $features,
    map($labels, $groups), $unembedded, $reason
)
