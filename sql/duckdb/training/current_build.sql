select
    coalesce(hash, ''), space_id, seed, feature_views, features, left_out, unembedded, reason
from training_set_builds
order by build_id desc
limit 1
