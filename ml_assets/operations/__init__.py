"""Operations: how things stand, and whether there is anything to do."""
