select fingerprint, definition = %(definition)s::jsonb
from feature_definitions
where view = %(view)s and version = %(version)s
