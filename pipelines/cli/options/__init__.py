"""Options of the verbs, alone and in groups that become one record."""
