update search_generations
set state = 'published', published_at = now(), published_by = %(actor)s, retired_at = null, withdrawn = null
where generation_id = %(generation_id)s
