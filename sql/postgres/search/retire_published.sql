update search_generations
set state = 'retired', retired_at = now(), withdrawn = %(withdrawn)s
where state = 'published'
