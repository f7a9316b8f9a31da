select group_id
from training_sets
where hash = $hash
group by group_id
having count(distinct split) > 1
order by group_id
