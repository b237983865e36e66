"""Django's database backends over a `Connector`: `"ENGINE": "iamsql.django.postgresql"` or `"iamsql.django.mysql"`.

`HOST` is the instance, `USER` and `PASSWORD` may be left out, and `OPTIONS["connector"]` is what `Connector` takes, or
one made already.
"""
