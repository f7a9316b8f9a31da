select
    bounds.feature,
    count(value) as known,
    count(*) - count(value) as unknown,
    count(*) filter (where not isfinite(value)) as not_finite,
    count(*) filter (where isfinite(value) and value < minimum) as below,
    count(*) filter (where isfinite(value) and value > maximum) as above
from (
    select unnest($features) as feature, unnest([{columns}]::double[]) as value from ({current})
) as flat
join (
    select unnest($features) as feature, unnest($minima) as minimum, unnest($maxima) as maximum
) as bounds using (feature)
group by bounds.feature
