"""A demonstration on this machine alone: sample people and letters, an SMTP server for them, and the run of it all.

Between cli and service: it uses the same doors as the commands do, and nothing but `mailer demo` uses it. Nothing
leaves the machine: all domains are reserved for examples (RFC 2606, RFC 6761), and the server delivers nowhere.

The doors are `folder.make_folder`, `serving.serving` and what `run` lists. They are not gathered here, because the
server's process starts through this file and has no use for the rest.
"""
