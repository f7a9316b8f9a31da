select text_hash
from training_sets
where hash = $hash
group by text_hash
having count(distinct split) > 1
order by text_hash
