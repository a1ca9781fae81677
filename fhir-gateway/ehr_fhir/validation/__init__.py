"""Structure, datatypes and required bindings of a resource, checked once, on write.

In: a resource as parsed JSON.
Out: nothing, or Unprocessable whose issues name elements and never their values.
May import: definitions and errors.
"""
