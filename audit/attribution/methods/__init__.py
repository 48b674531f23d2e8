"""Attribution methods: a file a family, a class a method, a line of the registry each."""
