"""The one process per slice and host that lives on between Python kernels; see `labkit.steward`.

It switches the frames of all links, and reads the consoles, lanes and monitors of the machines.
Plain Python 3.8 and its standard library; it travels as one zip file (`labkit.remote.pack`) and
is started as ``python3 -IS steward.pyz RUN_DIR``. A part is a class that is made with the
`Steward` of `context`, registers its verbs in ``steward.control.verb(name, work)``, uses
``steward.loop`` and never blocks.
"""
