insert into releases
    (space_id, generation_id, feature_views, model_name, model_version, actor, reason)
select
    %(space_id)s,
    (select generation_id from search_generations where state = 'published'),
    %(feature_views)s, %(model_name)s, %(model_version)s, %(actor)s, %(reason)s
returning release_id
