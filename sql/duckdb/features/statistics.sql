select
    feature,
    count(value) as known,
    count(*) - count(value) as unknown,
    min(value) as minimum,
    avg(value) as mean,
    median(value) as median,
    max(value) as maximum
from (
    select unnest($features) as feature, unnest([{columns}]::double[]) as value from ({current})
)
group by feature
