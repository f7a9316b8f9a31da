-- A row for each candidate: how good it is on test beside what it costs. Null: it is from before that was measured.
create view experiment_summary as
select
    training_set_hash, family, run_id, max(logged_at) as logged_at,
    max(value) filter (where split = 'test' and metric = 'macro_f1') as macro_f1,
    max(value) filter (where split = 'test' and metric = 'accuracy') as accuracy,
    max(value) filter (where split = 'test' and metric = 'log_loss') as log_loss,
    max(value) filter (where split = 'test' and metric = 'calibration_error') as calibration_error,
    max(value) filter (where split = 'validation' and metric = 'macro_f1') as validation_macro_f1,
    max(value) filter (where metric = 'fit_seconds') as fit_seconds,
    max(value) filter (where metric = 'latency_p50_ms') as one_text_p50_ms,
    max(value) filter (where metric = 'latency_p95_ms') as one_text_p95_ms,
    max(value) filter (where metric = 'latency_1000_p50_ms') as thousand_texts_p50_ms,
    max(value) filter (where metric = 'latency_1000_p95_ms') as thousand_texts_p95_ms,
    max(value) filter (where metric = 'peak_memory_mib') as peak_memory_mib,
    max(value) filter (where metric = 'model_bytes')::bigint as model_bytes
from experiment_performance
where label = ''
group by training_set_hash, family, run_id;

-- Every number of it over time, by family: the mean of the last five trainings, the range of 19 in 20 of the last
-- twenty, and the change since the one before.
create view experiment_trends as
select
    family, metric, logged_at, run_id, value,
    avg(value) over (order_of rows 4 preceding) as moving_average,
    quantile_cont(value, 0.05) over (order_of rows 19 preceding) as p5,
    quantile_cont(value, 0.95) over (order_of rows 19 preceding) as p95,
    value - lag(value) over order_of as change
from (unpivot experiment_summary on macro_f1, accuracy, log_loss, calibration_error, fit_seconds, one_text_p50_ms,
    one_text_p95_ms, thousand_texts_p50_ms, thousand_texts_p95_ms, peak_memory_mib, model_bytes::double as model_bytes
    into name metric value value)
window order_of as (partition by family, metric order by logged_at, run_id);
