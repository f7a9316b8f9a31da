insert into feature_definitions (view, version, entity, fingerprint, definition)
values (%(view)s, %(version)s, %(entity)s, %(fingerprint)s, %(definition)s)
