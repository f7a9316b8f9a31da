select label
from training_sets
where hash = $hash
group by label
having count(*) filter (where split = 'train') = 0
order by label
