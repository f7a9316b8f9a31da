d.deleted_at is null
    and (%(collections)s::text[] is null or d.collection = any(%(collections)s::text[]))
    and (%(labels)s::text[] is null or d.label = any(%(labels)s::text[]))
    and (%(created_from)s::timestamptz is null or d.created_at >= %(created_from)s::timestamptz)
    and (%(created_to)s::timestamptz is null or d.created_at < %(created_to)s::timestamptz)
    and d.metadata @> %(metadata)s
