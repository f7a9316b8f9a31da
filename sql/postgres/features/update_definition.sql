update feature_definitions set definition = %(definition)s
where view = %(view)s and version = %(version)s
