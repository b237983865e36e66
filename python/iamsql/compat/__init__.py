"""The names, arguments, defaults and exceptions of Google's Python connectors, over this engine.

`iamsql.compat.cloudsql` stands for `google.cloud.sql.connector`, `iamsql.compat.alloydb` for
`google.cloud.alloydbconnector`: change the import, and nothing else.
"""
