update search_generations
set state = 'published', published_at = now()
where generation_id = %(generation_id)s
