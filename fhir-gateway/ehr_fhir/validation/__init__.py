"""Structure, datatypes and required bindings of a resource.

In: a resource as a dict.
Out: nothing, or an error with the path of each fault.
May import: definitions.
"""
